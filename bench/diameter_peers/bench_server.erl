%% A Gx, Gy and S6a server on OTP's diameter that knows nobody and keeps nothing: what the stack itself costs.
%% erl -noshell -pa BEAMS -s bench_server main PORT. Dictionaries: beside this file, with the AVPs of tests/lab/avps.dia.
-module(bench_server).
-export([main/1]).
-export([peer_up/4, peer_down/4, pick_peer/5, prepare_request/4, prepare_retransmit/4, handle_answer/5, handle_error/5,
         handle_request/4]).

-record(diameter_packet, {header, avps, msg, bin, errors = [], transport_data}).

-define(HOST, <<"server.bench.example">>).
-define(REALM, <<"bench.example">>).

main([Port]) ->
    ok = diameter:start(),
    ok = diameter:start_service(bench,
        [{'Origin-Host', ?HOST}, {'Origin-Realm', ?REALM}, {string_decode, false}, {decode_format, map},
         {'Vendor-Id', 0}, {'Product-Name', "OTP/diameter"}, {'Supported-Vendor-Id', [10415]},
         {'Auth-Application-Id', [4]},
         {'Vendor-Specific-Application-Id',
          [[{'Vendor-Id', 10415}, {'Auth-Application-Id', [App]}] || App <- [16777238, 16777251]]}]
        ++ [{application, [{alias, Dictionary}, {dictionary, Dictionary}, {module, [?MODULE, Dictionary]}]}
            || Dictionary <- [bench_gx, bench_gy, bench_s6a]]),
    %% A peer that comes again is served at once, not after three watchdogs.
    {ok, _} = diameter:add_transport(bench,
        {listen, [{transport_module, diameter_tcp}, {watchdog_config, [{okay, 0}, {suspect, 1}]},
                  {transport_config, [{reuseaddr, true}, {ip, {127, 0, 0, 1}}, {port, list_to_integer(atom_to_list(Port))},
                                      {nodelay, true}]}]}).

peer_up(_, _, State, _) -> State.
peer_down(_, _, State, _) -> State.
pick_peer(_, _, _, _, _) -> false.
prepare_request(_, _, _, _) -> discard.
prepare_retransmit(_, _, _, _) -> discard.
handle_answer(_, _, _, _, _) -> ok.
handle_error(_, _, _, _, _) -> ok.

handle_request(#diameter_packet{msg = ['CCR' | Request], errors = []}, _, _, Dictionary) ->
    #{'Session-Id' := Session, 'CC-Request-Type' := Type, 'CC-Request-Number' := Number} = Request,
    Answer = #{'Session-Id' => Session, 'Origin-Host' => ?HOST, 'Origin-Realm' => ?REALM, 'Result-Code' => 2001,
               'Auth-Application-Id' => Dictionary:id(), 'CC-Request-Type' => Type, 'CC-Request-Number' => Number},
    {reply, ['CCA' | maps:merge(Answer, credit(Dictionary, Type))]};
handle_request(#diameter_packet{msg = ['AIR' | #{'Session-Id' := Session}], errors = []}, _, _, _) ->
    Vector = #{'RAND' => <<1:128>>, 'XRES' => <<2:64>>, 'AUTN' => <<3:128>>, 'KASME' => <<4:256>>},
    {reply, ['AIA' | (mobility(Session))#{'Authentication-Info' => #{'E-UTRAN-Vector' => [Vector]}}]};
handle_request(#diameter_packet{msg = ['ULR' | #{'Session-Id' := Session}], errors = []}, _, _, _) ->
    Ambr = #{'Max-Requested-Bandwidth-UL' => 10000000, 'Max-Requested-Bandwidth-DL' => 20000000},
    Arp = #{'Priority-Level' => 8, 'Pre-emption-Capability' => 1, 'Pre-emption-Vulnerability' => 0},
    Apn = #{'Context-Identifier' => 1, 'PDN-Type' => 0, 'Service-Selection' => <<"internet">>, 'AMBR' => Ambr,
            'EPS-Subscribed-QoS-Profile' => #{'QoS-Class-Identifier' => 9, 'Allocation-Retention-Priority' => Arp}},
    Data = #{'MSISDN' => <<16#51550000:32>>, 'Subscriber-Status' => 0, 'Network-Access-Mode' => 0, 'AMBR' => Ambr,
             'APN-Configuration-Profile' => #{'Context-Identifier' => 1, 'All-APN-Configurations-Included-Indicator' => 0,
                                              'APN-Configuration' => [Apn]}},
    {reply, ['ULA' | (mobility(Session))#{'ULA-Flags' => 1, 'Subscription-Data' => Data}]}.

mobility(Session) ->
    #{'Session-Id' => Session, 'Auth-Session-State' => 1, 'Origin-Host' => ?HOST, 'Origin-Realm' => ?REALM,
      'Result-Code' => 2001}.

credit(bench_gx, 1) ->
    Arp = #{'Priority-Level' => 8, 'Pre-emption-Capability' => 1, 'Pre-emption-Vulnerability' => 0},
    Qos = #{'QoS-Class-Identifier' => 9, 'Allocation-Retention-Priority' => Arp},
    #{'QoS-Information' => [#{'APN-Aggregate-Max-Bitrate-UL' => 10000000, 'APN-Aggregate-Max-Bitrate-DL' => 20000000}],
      'Default-EPS-Bearer-QoS' => Qos,
      'Charging-Rule-Install' => [#{'Charging-Rule-Definition' =>
          [#{'Charging-Rule-Name' => <<"default">>, 'Precedence' => 100, 'QoS-Information' => Qos,
             'Flow-Information' => [#{'Flow-Description' => <<"permit out ip from any to assigned">>,
                                      'Flow-Direction' => 3}]}]}]};
credit(bench_gy, Type) when Type < 3 ->
    #{'Multiple-Services-Credit-Control' =>
          [#{'Granted-Service-Unit' => #{'CC-Total-Octets' => 100000000}, 'Rating-Group' => 1, 'Validity-Time' => 3600,
             'Result-Code' => 2001}]};
credit(_, _) -> #{}.
