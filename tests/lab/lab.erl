%% Strict Diameter peers in one VM, told what to do by lines on stdin, telling what happened by lines on stdout.
%%
%% In, each an Erlang term with its full stop:
%%   {start, Peer, Host, Realm, [gx | gy | s6a | sy], Capabilities}.   a peer with an Origin-Host of its own
%%   {connect, Peer, Address, Port, TransportOptions}.                 dial; kept up until it is stopped
%%   {listen, Peer, Address, Port, TransportOptions}.
%%   {close, Peer}.                                                    close its connections with a DPR
%%   {stop, Peer}.                                                     and forget it
%%   {call, Ref, Peer, App, Message, TimeoutMs}.                       send a request: whole, in hexadecimal digits
%%   {answer, Ref, Message}.                                           answer a request; {answer, Ref, silence}.
%% Out:
%%   up PEER HOST APP | down PEER HOST APP | closed PEER REASON   a connection serves App; it does not; it never did
%%   ready | fault TEXT
%%   answered REF MESSAGE FAULTS | failed REF REASON
%%   request REF PEER APP MESSAGE FAULTS
%% FAULTS is "-" where the dictionary found nothing: arity, unknown mandatory AVPs, lengths, values, the E bit.
%% Messages are whole, so header, order and flags are what Python made; only the checks of what comes are OTP's.
-module(lab).
-export([main/0]).
-export([peer_up/4, peer_down/4, pick_peer/6, prepare_request/5, prepare_retransmit/5, handle_answer/6, handle_error/6,
         handle_request/4]).

-record(diameter_packet, {header, avps, msg, bin, errors = [], transport_data}).
-record(diameter_avp, {code, vendor_id, is_mandatory = false, need_encryption = false, data, name, value, type, index}).
-record(diameter_caps, {origin_host, origin_realm, host_ip_address = [], vendor_id, product_name, origin_state_id = [],
                        supported_vendor_id = [], auth_application_id = [], inband_security_id = [],
                        acct_application_id = [], vendor_specific_application_id = [], firmware_revision = [],
                        avp = []}).

main() ->
    ok = logger:remove_handler(default),
    ok = logger:add_handler(default, logger_std_h, #{level => error, config => #{type => standard_error}}),
    ok = io:setopts([{encoding, latin1}]),
    {ok, _} = application:ensure_all_started(ssl),
    ok = diameter:start(),
    register(out, spawn_link(fun out/0)),
    register(waiting, spawn_link(fun() -> waiting(#{}) end)),
    say("ready", []),
    read(),
    halt(0).

read() ->
    case io:read(standard_io, '') of
        {ok, Command} ->
            try act(Command) catch Class:Reason:Stack -> say("fault ~0p", [{Class, Reason, Stack, Command}]) end,
            read();
        eof -> ok;
        {error, Reason} -> say("fault ~0p", [Reason])
    end.

act({start, Peer, Host, Realm, Apps, Capabilities}) ->
    spawn(fun() -> true = diameter:subscribe(Peer), watch(Peer) end),
    ok = diameter:start_service(Peer,
        [{'Origin-Host', Host}, {'Origin-Realm', Realm}, {string_decode, false}, {decode_format, none},
         {restrict_connections, false}, {'Vendor-Id', 0}, {'Product-Name', "OTP/diameter"},
         {'Supported-Vendor-Id', [10415]}]
        ++ advertise(Apps) ++ Capabilities
        ++ [{application, [{alias, App}, {dictionary, dictionary(App)}, {module, [?MODULE, App]},
                           {answer_errors, callback}, {request_errors, callback}]} || App <- [base | Apps]]);
act({connect, Peer, Address, Port, Options}) ->
    transport(Peer, connect, [{raddr, Address}, {rport, Port} | Options]);
act({listen, Peer, Address, Port, Options}) ->
    transport(Peer, listen, [{reuseaddr, true}, {ip, Address}, {port, Port} | Options]);
act({close, Peer}) ->
    ok = diameter:remove_transport(Peer, true);
act({stop, Peer}) ->
    ok = diameter:stop_service(Peer);
act({call, Ref, Peer, App, Message, Timeout}) ->
    spawn(fun() ->
        case diameter:call(Peer, App, whole(binary:decode_hex(Message)), [{timeout, Timeout}, {extra, [Ref]}]) of
            ok -> ok;
            {error, Reason} -> say("failed ~w ~0p", [Ref, Reason])
        end
    end);
act({answer, Ref, Message}) ->
    waiting ! {answer, Ref, Message}.

transport(Peer, Type, Config) ->
    {ok, _} = diameter:add_transport(Peer,
        {Type, [{transport_module, diameter_tcp}, {transport_config, Config}, {connect_timer, 200},
                {watchdog_timer, 30000}, {watchdog_config, [{okay, 0}, {suspect, 1}]}, {capx_timeout, 5000},
                {disconnect_cb, fun(_, _, _) -> {dpr, [{cause, 0}, {timeout, 1000}]} end}]}).

dictionary(base) -> diameter_gen_base_rfc6733;
dictionary(gx) -> lab_gx;
dictionary(gy) -> lab_gy;
dictionary(s6a) -> lab_s6a;
dictionary(sy) -> lab_sy.

advertise(Apps) ->
    [{'Auth-Application-Id', [4 || gy <- Apps]},
     {'Vendor-Specific-Application-Id',
      [[{'Vendor-Id', 10415}, {'Auth-Application-Id', [(dictionary(App)):id()]}] || App <- Apps, App /= gy]}].

watch(Peer) ->
    receive
        {diameter_event, _, {closed, _, Reason, _}} -> say("closed ~s ~0P", [Peer, Reason, 60]);
        {diameter_event, _, stop} -> exit(normal);
        _ -> ok
    end,
    watch(Peer).

%% A message as a header and AVPs, which diameter sends as they are.
whole(Bin) ->
    [diameter_codec:decode_header(Bin) | diameter_codec:collect_avps(Bin)].

%% Callbacks of diameter

peer_up(_, Peer, State, App) -> say("up ~s ~s ~s", hosts(Peer) ++ [App]), State.

peer_down(_, Peer, State, App) -> say("down ~s ~s ~s", hosts(Peer) ++ [App]), State.

hosts({_, #diameter_caps{origin_host = {Own, Host}}}) -> [Own, Host].

pick_peer([Peer | _], _, _, _, _, _) -> {ok, Peer};
pick_peer([], _, _, _, _, _) -> false.

prepare_request(Packet, _, _, _, _) -> {send, Packet}.

prepare_retransmit(Packet, _, _, _, _) -> {send, Packet}.

handle_answer(#diameter_packet{bin = Bin, errors = Errors}, _, _, _, _, Ref) ->
    say("answered ~w ~s ~s", [Ref, binary:encode_hex(Bin), faults(Errors)]).

handle_error(Reason, _, _, _, _, Ref) ->
    say("failed ~w ~0p", [Ref, Reason]).

handle_request(#diameter_packet{bin = Bin, errors = Errors}, Peer, _, App) ->
    waiting ! {request, self(), Peer, App, Bin, faults(Errors)},
    receive
        silence -> discard;
        Message -> {reply, whole(binary:decode_hex(Message))}
    after 60000 -> discard
    end.

faults([]) -> "-";
faults(Errors) -> lists:join(", ", [fault(Error) || Error <- Errors]).

fault({Result, #diameter_avp{name = undefined, code = Code, vendor_id = Vendor, data = Data}}) ->
    io_lib:format("~w: AVP ~0p/~0p ~0P", [Result, Vendor, Code, Data, 20]);
fault({Result, #diameter_avp{name = Name, data = Data}}) ->
    io_lib:format("~w: ~s ~0P", [Result, Name, Data, 20]);
fault(Error) ->
    io_lib:format("~0P", [Error, 20]).

%% Two processes: who waits for which answer, and whole lines out.

waiting(Handlers) ->
    receive
        {request, Pid, Peer, App, Bin, Faults} ->
            Ref = erlang:unique_integer([positive]),
            say("request ~w ~s ~s ~s ~s", [Ref, Peer, App, binary:encode_hex(Bin), Faults]),
            waiting(Handlers#{Ref => Pid});
        {answer, Ref, Message} ->
            {Pid, Rest} = maps:take(Ref, Handlers),
            Pid ! Message,
            waiting(Rest)
    end.

say(Format, Arguments) -> out ! io_lib:format(Format, Arguments), ok.

out() ->
    receive Text -> io:put_chars([string:replace(Text, "\n", " ", all), $\n]), out() end.
