defmodule Linx.ArchitectureTest do
  use ExUnit.Case, async: true

  # Who may call whom, read off the compiled modules' import tables. A row may call itself and the rows above it.
  @rooms [:values, :codecs, :kernel, :verbs, :processes, :loops]

  # The first pattern that matches decides; a module that none matches fails the test, so that it gets a room.
  @placement [
    {~r/^Linx$/, :values},
    {~r/\.Error$/, :values},
    {~r/^Linx\.(Errno|IP|MAC|NFT|Terms)(\.|$)/, :values},
    {~r/^Linx\.Native$/, :kernel},
    {~r/\.Native$/, :kernel},
    {~r/^Linx\.(Target|Procfs|KernelFile|Mailbox)$/, :kernel},
    {~r/^Linx\.Process(\.|$)/, :kernel},
    {~r/\.Reconcile\.(Report|Diff)$/, :values},
    {~r/^Linx\.Reconcile\.Source$/, :values},
    {~r/\.Reconcile\.Source$/, :loops},
    {~r/^Linx\.Reconcile\.ThreeWay$/, :values},
    {~r/^Linx\.Reconcile(\.|$)/, :loops},
    {~r/^Linx\.\w+(\.\w+)?\.Reconcile(\.|$)/, :verbs},
    {~r/^Linx\.Netfilter\.(Encoder|Decoder|Codec|Canonical|Diff)(\.|$)/, :codecs},
    {~r/^Linx\.Netfilter\.(Monitor|Log)$/, :processes},
    {~r/^Linx\.Netfilter\.(Monitor|Log)\./, :values},
    # The face of the subsystem, monitor and log included.
    {~r/^Linx\.Netfilter$/, :processes},
    {~r/^Linx\.Netfilter\.(Push|Pull|Elements|Batch|Transaction|Kernel|Interfaces)(\.|$)/,
     :verbs},
    {~r/^Linx\.Netfilter\./, :values},
    {~r/^Linx\.Netlink\.Attr$/, :values},
    {~r/^Linx\.Netlink\.(Message|Codec|Constants|Heap|Nfnl\.(Header|Batch|Generation))(\.|$)/,
     :codecs},
    {~r/^Linx\.Netlink\.(Socket|Inbox|Request|Nfnl)(\.|$)/, :kernel},
    {~r/^Linx\.Netlink\.Rtnl\.Monitor$/, :processes},
    {~r/^Linx\.Netlink\.Rtnl\.Monitor\./, :values},
    {~r/^Linx\.Netlink(\.|$)/, :verbs},
    {~r/^Linx\.Seccomp\.(Compiler|Disassembler)/, :codecs},
    {~r/^Linx\.Seccomp\.(Filter|Syscalls|Rule)/, :values},
    {~r/^Linx\.Mount\.(Entry|Mountinfo)$/, :codecs},
    {~r/^Linx\.Capabilities\.(Constants|State)$/, :values},
    {~r/^Linx\.Cgroup\.(Stats|Events|Pressure|Keyed)$/, :codecs},
    {~r/^Linx\.(Sysctl|User)\.(Entry|Map|Key|Kinds)$/, :values},
    {~r/^Linx\.Tty\.(WindowSize|Saved)$/, :values},
    {~r/^Linx\.Tty(\.|$)/, :processes},
    {~r/^Linx\.(Cgroup|Mount|User|Capabilities|Seccomp|Sysctl|Netns)(\.|$)/, :verbs},
    {~r/^Linx\.Doctor(\.|$)/, :processes},
    {~r/^Mix\.Tasks\./, :loops}
  ]

  setup_all do
    ebin = :linx |> Application.app_dir("ebin")

    imports =
      for beam <- Path.wildcard(Path.join(ebin, "*.beam")),
          {:ok, {module, [imports: imports]}} =
            :beam_lib.chunks(String.to_charlist(beam), [:imports]),
          not test_support?(module),
          into: %{},
          do: {module, imports |> Enum.map(&elem(&1, 0)) |> Enum.uniq()}

    %{imports: imports}
  end

  # Modules of test/support are compiled into the same application in the test environment.
  defp test_support?(module), do: String.starts_with?(inspect(module), "Linx.Test.")

  defp room(module) do
    name = name(module)
    Enum.find_value(@placement, fn {pattern, room} -> if name =~ pattern, do: room end)
  end

  # The implementation of a protocol belongs to the module it is for, or to the language whose folder holds it: nft text is how
  # values of netfilter print, and they know no language.
  defp name(module) do
    name = inspect(module)
    own = String.replace(name, ~r/^(Inspect|String\.Chars|JSON\.Encoder)\.(?=Linx\.)/, "")
    if own != name and source(module) =~ "/lib/linx/nft/", do: "Linx.NFT." <> own, else: own
  end

  defp source(module), do: to_string(module.module_info(:compile)[:source])

  test "every module has a room", %{imports: imports} do
    assert for({module, _} <- imports, room(module) == nil, do: module) == []
  end

  test "no room calls a room below it", %{imports: imports} do
    rank = @rooms |> Enum.with_index() |> Map.new()

    upward =
      for {module, called} <- imports,
          target <- called,
          Map.has_key?(imports, target),
          # Codecs may call it too, at run time; a test of its own says who else.
          target != Linx.Native,
          rank[room(module)] < rank[room(target)],
          do: "#{inspect(module)} (#{room(module)}) calls #{inspect(target)} (#{room(target)})"

    assert upward == []
  end

  # The NIF library counts as a room of its own: codecs reach it as well, and it calls nobody.
  test "the rooms call each other in no cycle", %{imports: imports} do
    assert cycles(imports, &if(&1 == Linx.Native, do: :library, else: room(&1))) == []
  end

  # Linx.Mount, Linx.Netlink and so on, each with all the modules below its name.
  test "the subsystems call each other in no cycle", %{imports: imports} do
    assert cycles(imports, &subsystem/1) == []
  end

  # Sigils and the nft language run in other people's compilers, where the library is for another CPU.
  test "values never reach the NIF library, whoever is in between", %{imports: imports} do
    for {module, _} <- imports, room(module) == :values do
      path = path_to(module, Linx.Native, imports)
      assert path == nil, "#{inspect(module)} reaches Linx.Native: #{inspect(path)}"
    end
  end

  test "Linx.Native is called by the kernel and codecs rooms only", %{imports: imports} do
    callers = for {module, called} <- imports, Linx.Native in called, do: {room(module), module}
    assert Enum.reject(callers, fn {room, _} -> room in [:kernel, :codecs] end) == []
  end

  test "Linx.Process knows no other subsystem", %{imports: imports} do
    allowed = ~r/^Linx\.(Process|Native|Pool|Errno|Target|Mailbox|IP)(\.|$)/

    others =
      for {module, called} <- imports,
          inspect(module) =~ ~r/^Linx\.Process(\.|$)/,
          target <- called,
          Map.has_key?(imports, target),
          not (inspect(target) =~ allowed),
          do: {module, target}

    assert others == []
  end

  test "nothing starts at boot" do
    assert Application.spec(:linx, :mod) in [nil, []]
  end

  defp subsystem(module), do: module |> name() |> String.split(".") |> Enum.take(2)

  # The groups of `group_of` that call each other in a circle.
  defp cycles(imports, group_of) do
    graph = :digraph.new()

    for {module, called} <- imports, target <- called, Map.has_key?(imports, target) do
      {from, to} = {group_of.(module), group_of.(target)}
      for group <- [from, to], do: :digraph.add_vertex(graph, group)
      if from != to, do: :digraph.add_edge(graph, from, to)
    end

    cycles = :digraph_utils.cyclic_strong_components(graph)
    :digraph.delete(graph)
    cycles
  end

  # Breadth first; the path of modules from one to the other, or nil.
  defp path_to(from, to, imports), do: search([[from]], to, imports, MapSet.new([from]))

  defp search([], _to, _imports, _seen), do: nil

  defp search([[to | _] = path | _], to, _imports, _seen), do: Enum.reverse(path)

  defp search([[module | _] = path | rest], to, imports, seen) do
    next = for m <- Map.get(imports, module, []), m not in seen, do: m

    search(
      rest ++ Enum.map(next, &[&1 | path]),
      to,
      imports,
      MapSet.union(seen, MapSet.new(next))
    )
  end
end
