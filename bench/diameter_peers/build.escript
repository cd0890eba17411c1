%% Compile the dictionaries and the server: escript build.escript AVPS.dia HERE OUT. Needs erlang-base, erlang-diameter.
-mode(compile).

main([Avps, Here, Out]) ->
    ok = filelib:ensure_dir(filename:join(Out, "x")),
    code:add_patha(Out),
    [dictionary(File, Out) || File <- [Avps | [filename:join(Here, Name ++ ".dia") || Name <- ["gx", "gy", "s6a"]]]],
    Source = filename:join(Here, "bench_server.erl"),
    {ok, bench_server, Beam} = compile:file(Source, [binary, report, warnings_as_errors]),
    ok = file:write_file(filename:join(Out, "bench_server.beam"), Beam).

dictionary(File, Out) ->
    case diameter_make:codec(File, [return, forms]) of
        {ok, [Forms]} ->
            {ok, Module, Beam} = compile:forms(Forms, [report]),
            ok = file:write_file(filename:join(Out, atom_to_list(Module) ++ ".beam"), Beam);
        {error, Reason} ->
            io:format(standard_error, "~s: ~s~n", [File, diameter_make:format_error(Reason)]),
            halt(1)
    end.
