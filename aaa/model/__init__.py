"""The neutral words: entities, attempts, records of use, results. No wire, no storage, no clock."""
