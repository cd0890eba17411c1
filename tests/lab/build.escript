%% Compile the dictionaries and the lab: escript build.escript SOURCES OUT. Needs erlang-base and erlang-diameter alone.
-mode(compile).

main([Src, Out]) ->
    ok = filelib:ensure_dir(filename:join(Out, "x")),
    code:add_patha(Out),
    [dictionary(filename:join(Src, Name ++ ".dia"), Out) || Name <- ["avps", "gx", "gy", "s6a", "sy"]],
    {ok, lab, Lab} = compile:file(filename:join(Src, "lab.erl"), [binary, report, warnings_as_errors]),
    ok = file:write_file(filename:join(Out, "lab.beam"), Lab).

dictionary(File, Out) ->
    case diameter_make:codec(File, [return, forms]) of
        {ok, [Forms]} ->
            {ok, Module, Beam} = compile:forms(Forms, [report]),
            ok = file:write_file(filename:join(Out, atom_to_list(Module) ++ ".beam"), Beam);
        {error, Reason} ->
            io:format(standard_error, "~s: ~s~n", [File, diameter_make:format_error(Reason)]),
            halt(1)
    end.
