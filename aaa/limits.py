"""Every bound of the server, with its unit and its reason."""

CONFIG_FILE_BYTES_MAX = 16 << 20  # bytes; Bound: a [[nas]] entry is about 200, so this is 80 000 of them
SECRET_FILE_BYTES_MAX = 4096  # bytes; Bound: a secret is a line, a larger file is a mistake in the path

CLIENT_CACHE_COUNT_MAX = 65_536  # addresses; Bound: about 8 MiB; past it the prefix lookup is paid again
UNKNOWN_SOURCES_COUNT = 1_024  # addresses; Bound: a spoofed flood fills a table, not the memory
POSTURE_SOURCES_COUNT_MAX = 65_536  # addresses; Bound: about 16 MiB, above any NAS count behind shared prefixes

LOG_QUEUE_LINES_MAX = 16_384  # lines; Bound: a stuck disk or pipe costs memory up to here, then lines, never the loop
LOG_BATCH_LINES_MAX = 512  # lines; Bound: one write() of about 128 KiB
LOG_VALUE_CHARACTERS_MAX = 2_048  # characters of one field; Bound: a hostile value does not fill the disk
LOG_REPEAT_KEYS_MAX = 4_096  # keys; Bound: spoofed sources do not grow the table of repeated lines
