defmodule Linx.ArchitectureTest do
  use ExUnit.Case, async: true

  # The rooms and the parts, read from docs/development/architecture.md and held against the
  # import tables of the compiled modules.

  alias Linx.Test.Architecture

  @page Path.expand("../../docs/development/architecture.md", __DIR__)

  setup_all do
    ebin = :linx |> Application.app_dir("ebin")

    imports =
      for beam <- Path.wildcard(Path.join(ebin, "*.beam")),
          {:ok, {module, [imports: imports]}} =
            :beam_lib.chunks(String.to_charlist(beam), [:imports]),
          not test_support?(module),
          into: %{},
          do: {module, imports |> Enum.map(&elem(&1, 0)) |> Enum.uniq()}

    names = Map.new(imports, fn {module, _} -> {module, name(module)} end)

    calls =
      for {module, called} <- imports,
          target <- called,
          is_map_key(names, target),
          uniq: true,
          do: {names[module], names[target]}

    page = File.read!(@page)

    %{
      imports: imports,
      modules: names |> Map.values() |> Enum.uniq(),
      calls: calls,
      rooms: Architecture.rooms(page),
      parts: Architecture.parts(page),
      exceptions: Architecture.exceptions(page)
    }
  end

  # Modules of test/support are compiled into the same application in the test environment.
  defp test_support?(module), do: String.starts_with?(inspect(module), "Linx.Test.")

  # The implementation of a protocol belongs to the module it is for, or to the language whose
  # folder holds it: nft text is how values of netfilter print, and they know no language.
  defp name(module) do
    name = inspect(module)
    own = String.replace(name, ~r/^(Inspect|String\.Chars|JSON\.Encoder)\.(?=Linx\.)/, "")
    if own != name and source(module) =~ "/lib/linx/nft/", do: "Linx.NFT." <> own, else: own
  end

  defp source(module), do: to_string(module.module_info(:compile)[:source])

  describe "the page" do
    test "every module has a room", %{modules: modules, rooms: rooms} do
      assert for(module <- modules, Architecture.group(rooms, module) == nil, do: module) == []
    end

    test "every pattern decides for some module", context do
      for groups <- [context.rooms, context.parts] do
        assert Architecture.idle(groups, context.modules) == []
      end
    end

    test "every name in the last column is that of a row", context do
      for groups <- [context.rooms, context.parts] do
        assert Enum.uniq(Enum.flat_map(groups, & &1.calls)) -- Enum.map(groups, & &1.name) == []
      end
    end

    test "every exception is one that is made and that a rule forbids", context do
      made = Architecture.forbidden(context.calls, context.parts)

      idle =
        for {from, to} <- context.exceptions,
            not Enum.any?(made, &Architecture.excepted?(&1, [{from, to}])),
            do: {from, to}

      assert idle == []
    end

    # The package has neither benchmarks nor fuzz targets.
    test "the folders of the tree are there" do
      root = Path.expand("../..", __DIR__)
      tree = Architecture.tree(File.read!(@page))
      absent = for path <- tree, not File.exists?(Path.join(root, path)), do: path
      assert absent -- ["fuzz/", "bench/"] == []
    end
  end

  test "no room calls one that its row does not name", %{calls: calls, rooms: rooms} do
    assert Architecture.calls_outside(calls, rooms) == []
  end

  test "no part calls one that its row forbids", context do
    made = Architecture.forbidden(context.calls, context.parts)
    assert Enum.reject(made, &Architecture.excepted?(&1, context.exceptions)) == []
  end

  test "the rooms call each other in no cycle", %{calls: calls, rooms: rooms} do
    assert Architecture.cycles(calls, &Architecture.group(rooms, &1).name) == []
  end

  # Linx.Mount, Linx.Netlink and so on, each with all the modules below its name.
  test "the subsystems call each other in no cycle", %{calls: calls} do
    subsystem = fn module -> module |> String.split(".") |> Enum.take(2) end
    assert Architecture.cycles(calls, subsystem) == []
  end

  # Sigils and the nft language run in other people's compilers, where the library is for another
  # processor.
  test "values never reach the NIF library, whoever is in between", context do
    for module <- context.modules, Architecture.group(context.rooms, module).name == "values" do
      path = Architecture.path(context.calls, module, "Linx.Native")
      assert path == nil, "#{module} reaches Linx.Native: #{inspect(path)}"
    end
  end

  test "Linx.Process knows no other subsystem", %{calls: calls} do
    allowed = ~r/^Linx\.(Process|Native|Pool|Errno|Target|Mailbox|IP)(\.|$)/

    others =
      for {from, to} <- calls,
          from =~ ~r/^Linx\.Process(\.|$)/,
          not (to =~ allowed),
          do: {from, to}

    assert others == []
  end

  test "nothing starts at boot" do
    assert Application.spec(:linx, :mod) in [nil, []]
  end

  # The checks above find nothing in a sound tree. These show that they would.
  describe "a fault is found:" do
    test "a verb that calls the NIF library", %{rooms: rooms} do
      call = {"Linx.Mount.Newcomer", "Linx.Native"}
      assert Architecture.calls_outside([call], rooms) == [{call, {"verbs", "library"}}]
    end

    test "a value that calls a codec", %{rooms: rooms} do
      call = {"Linx.Netfilter.Rule", "Linx.Netfilter.Encoder.Rule"}
      assert Architecture.calls_outside([call], rooms) == [{call, {"values", "codecs"}}]
    end

    test "a parser that calls the compiler, and a decoder that calls the encoder", context do
      calls = [
        {"Linx.NFT.Parser.Chain", "Linx.NFT.Compiler.Chains"},
        {"Linx.Netfilter.Decoder.Rule", "Linx.Netfilter.Encoder.Rule"},
        {"Linx.Netfilter.Dependencies.Join", "Linx.Netfilter.Encoder"}
      ]

      assert Architecture.forbidden(calls, context.parts) == calls
      refute Enum.any?(calls, &Architecture.excepted?(&1, context.exceptions))
    end

    test "a pattern that no module has, and one that a longer pattern covers", context do
      page = """
      | Room | Modules | May call |
      |---|---|---|
      | values | `Linx`, `Linx.Nobody`, `Linx.Mount.*` | values |
      | verbs | `Linx.Mount.Entry` | values |
      """

      modules = ["Linx", "Linx.IP", "Linx.Mount.Entry"]

      assert Architecture.idle(Architecture.rooms(page), modules) == [
               "Linx.Nobody",
               "Linx.Mount.*"
             ]

      assert Architecture.group(context.rooms, "Other.Module") == nil
    end

    test "a path of three modules, and a cycle of two" do
      calls = [{"A", "B"}, {"B", "C"}, {"C", "B"}]
      assert Architecture.path(calls, "A", "C") == ["A", "B", "C"]
      assert Architecture.path(calls, "C", "A") == nil
      assert [cycle] = Architecture.cycles(calls, & &1)
      assert Enum.sort(cycle) == ["B", "C"]
    end
  end
end
