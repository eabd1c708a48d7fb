defmodule Linx.DeadCodeTest do
  use ExUnit.Case, async: true

  # The compiler warns of a private function that nothing calls. This asks the same of what is
  # exported and not documented: such a function is for other modules of Linx, so one of them must
  # call it.

  # Seams that only tests use: the whole of a table, and what happens on the other side of a
  # system call.
  @for_tests [
    "Linx.Capabilities.parse/2",
    "Linx.Doctor.KernelConfig.findings/2",
    "Linx.Doctor.KernelConfig.lacking/2",
    "Linx.Doctor.KernelConfig.subsystems/0",
    "Linx.Errno.all/0",
    "Linx.Mount.Flags.all/0",
    "Linx.Native.netlink_decode/2",
    "Linx.Native.netlink_set_buffer/2"
  ]

  # Documented, in modules without a page of their own.
  @documented [
    "Linx.Capabilities.Constants.from_bit/1",
    "Linx.Capabilities.Constants.to_bit/1",
    "Linx.Seccomp.Syscalls.all/1",
    "Mix.Tasks.Compile.LinxNative.Target.host/3"
  ]

  test "every function that is exported and not documented has a caller" do
    ebin = Application.app_dir(:linx, "ebin")
    modules = for path <- Path.wildcard(Path.join(ebin, "*.beam")), do: chunks(path)
    called = for {_, chunks} <- modules, call <- chunks[:imports], into: source_calls(), do: call

    unused =
      for {module, chunks} <- modules,
          not String.starts_with?(inspect(module), "Linx.Test."),
          documented = documented(module),
          given = given(chunks[:attributes]),
          {name, arity} <- chunks[:exports],
          {name, arity} not in documented and {name, arity} not in given,
          not generated?(name),
          {module, name, arity} not in called,
          {last(module), name} not in called and {name, arity} not in called,
          do: "#{inspect(module)}.#{name}/#{arity}"

    assert Enum.sort(unused) == Enum.sort(@for_tests ++ @documented)
  end

  defp chunks(path) do
    {:ok, chunks} =
      :beam_lib.chunks(String.to_charlist(path), [:imports, :exports, :attributes])

    chunks
  end

  defp documented(module) do
    case Code.fetch_docs(module) do
      {:docs_v1, _, _, _, doc, _, entries} when doc != :hidden ->
        for {{_kind, name, arity}, _, _, doc, meta} <- entries,
            doc not in [:hidden, :none],
            arity <- (arity - Map.get(meta, :defaults, 0))..arity,
            do: {name, arity}

      _ ->
        []
    end
  end

  # Callbacks.
  defp given(attributes) do
    behaviours = for {:behaviour, list} <- attributes, behaviour <- list, do: behaviour

    callbacks =
      for behaviour <- behaviours,
          Code.ensure_loaded?(behaviour) and function_exported?(behaviour, :behaviour_info, 1),
          callback <- behaviour.behaviour_info(:callbacks),
          do: callback

    # `use GenServer` adds a child_spec/1.
    [{:child_spec, 1} | callbacks]
  end

  # By the language (structs, exceptions, protocols), and by our own `use Linx.Netlink.Codec`. A
  # macro runs in other modules.
  defp generated?(name) do
    name in ~w(module_info behaviour_info exception message impl_for impl_for!)a or
      String.starts_with?(Atom.to_string(name), ["__", "MACRO-"])
  end

  # Calls that leave no import: while a module is compiled ({module's last name, function}), and
  # by a module in a variable ({function, arity}).
  defp source_calls do
    for path <- Path.wildcard(Path.expand("../../lib/**/*.ex", __DIR__)),
        call <- path |> File.read!() |> Code.string_to_quoted!() |> calls(),
        into: MapSet.new(),
        do: call
  end

  defp calls(ast) do
    ast
    |> Macro.prewalker()
    |> Enum.flat_map(fn
      {{:., _, [{:__aliases__, _, names}, function]}, _, _} -> [{List.last(names), function}]
      {{:., _, [_, function]}, _, args} when is_atom(function) -> [{function, length(args)}]
      _ -> []
    end)
  end

  defp last(module), do: module |> Module.split() |> List.last() |> String.to_atom()
end
