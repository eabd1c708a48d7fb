defmodule Mix.Tasks.Compile.LinxNative.ArchiveTest do
  use ExUnit.Case, async: true

  alias Mix.Tasks.Compile.LinxNative.Archive

  @moduletag :tmp_dir
  @good [{"priv/linx_nif.so", "library"}, {"priv/linx_process", "agent"}]

  # :erl_tar writes no name or type that it would not read back in safety, so hostile entries are
  # written by hand: ustar's header is in tar(5).
  defp entry(name, content, type \\ "0", link \\ "") do
    size = content |> byte_size() |> Integer.to_string(8) |> String.pad_leading(11, "0")

    front =
      String.pad_trailing(name, 100, <<0>>) <>
        "0000755\0" <> "0000000\0" <> "0000000\0" <> size <> "\0" <> "00000000000\0"

    back =
      type <>
        String.pad_trailing(link, 100, <<0>>) <>
        "ustar\0" <> "00" <> :binary.copy(<<0>>, 64) <> :binary.copy(<<0>>, 16 + 155 + 12)

    sum = for <<byte <- front <> "        " <> back>>, reduce: 0, do: (sum -> sum + byte)
    sum = sum |> Integer.to_string(8) |> String.pad_leading(6, "0")
    padding = rem(512 - rem(byte_size(content), 512), 512)
    front <> sum <> "\0 " <> back <> content <> :binary.copy(<<0>>, padding)
  end

  defp tar(entries), do: IO.iodata_to_binary([entries, :binary.copy(<<0>>, 1024)])
  defp files(list), do: for({name, content} <- list, do: entry(name, content))

  defp read(dir, archive, sum \\ nil) do
    path = Path.join(dir, "linx.tar.gz")
    File.write!(path, archive)
    Archive.read(path, sum || Archive.sha256(archive))
  end

  defp refused(dir, tar) do
    assert {:error, message} = read(dir, :zlib.gzip(tar))
    assert message =~ "is refused"
    message
  end

  test "both parts of a whole archive", %{tmp_dir: dir} do
    assert read(dir, :zlib.gzip(tar(files(@good)))) ==
             {:ok, %{nif: "library", agent: "agent"}}

    assert read(dir, :zlib.gzip(tar(files(Enum.reverse(@good))))) ==
             {:ok, %{nif: "library", agent: "agent"}}
  end

  test "one flipped bit anywhere gives both sums", %{tmp_dir: dir} do
    archive = :zlib.gzip(tar(files(@good)))
    sum = Archive.sha256(archive)

    for at <- 0..(byte_size(archive) - 1) do
      <<front::binary-size(^at), byte, back::binary>> = archive
      damaged = front <> <<Bitwise.bxor(byte, 1)>> <> back
      assert {:error, message} = read(dir, damaged, sum)
      assert message =~ sum and message =~ Archive.sha256(damaged)
    end
  end

  test "a truncated archive, even with a sum that agrees, at each length", %{tmp_dir: dir} do
    archive = :zlib.gzip(tar(files(@good)))

    for length <- 0..(byte_size(archive) - 1) do
      assert {:error, message} = read(dir, binary_part(archive, 0, length))
      assert message =~ "is refused"
    end
  end

  test "a truncated tar file in a whole gzip file", %{tmp_dir: dir} do
    tar = IO.iodata_to_binary(files(@good))
    for length <- [0, 1, 511, 512, 515, 1024, 1540], do: refused(dir, binary_part(tar, 0, length))
  end

  test "names that leave the folder, and other names", %{tmp_dir: dir} do
    [nif, agent] = files(@good)

    for name <- [
          "../linx_nif.so",
          "/tmp/linx_nif.so",
          "priv/../../linx_nif.so",
          "priv/./../linx_nif.so",
          "linx_nif.so",
          "priv/LINX_NIF.SO"
        ] do
      assert refused(dir, tar([entry(name, "evil"), agent]))
      assert refused(dir, tar([nif, agent, entry(name, "evil")]))
    end

    assert refused(dir, tar([nif]))
    assert refused(dir, tar([nif, agent, agent]))
    assert refused(dir, tar([]))
  end

  test "links, folders and devices of the right names", %{tmp_dir: dir} do
    [nif, _agent] = files(@good)

    for type <- ~w(1 2 3 4 5 6) do
      assert refused(dir, tar([nif, entry("priv/linx_process", "", type, "/etc/passwd")]))
    end
  end

  test "what unpacks to too much is not unpacked", %{tmp_dir: dir} do
    bomb = :zlib.gzip(:binary.copy(<<0>>, 65 * 1024 * 1024))
    assert {:error, message} = read(dir, bomb)
    assert message =~ "unpacks to more than"
  end

  test "a link, a folder and a file that is too large are not read", %{tmp_dir: dir} do
    archive = :zlib.gzip(tar(files(@good)))
    File.write!(Path.join(dir, "target"), archive)
    link = Path.join(dir, "link")
    File.ln_s!("target", link)
    assert {:error, message} = Archive.read(link, Archive.sha256(archive))
    assert message =~ "symlink"
    assert {:error, message} = Archive.read(dir, "")
    assert message =~ "directory"

    large = Path.join(dir, "large")
    {:ok, file} = :file.open(large, [:write])
    :ok = :file.pwrite(file, 16 * 1024 * 1024, "x")
    :ok = :file.close(file)
    assert {:error, message} = Archive.read(large, "")
    assert message =~ "the most"
    assert {:error, message} = Archive.read(Path.join(dir, "nothing"), "")
    assert message =~ "no such file"
  end

  test "the name has the version of the package and the NIF version of the library" do
    assert Archive.name("t") =~ ~r/^linx-#{Regex.escape(Mix.Project.config()[:version])}-nif-/
    [_, major, minor] = Regex.run(~r/nif_version_(\d+)_(\d+)/, File.read!("Cargo.toml"))
    assert Archive.name("t") =~ "-nif-#{major}.#{minor}-t.tar.gz"
  end

  test "the list names each target of bin/precompile, or none" do
    {:ok, list} = Archive.list()

    table = File.read!("bin/lib/precompile.sh")

    targets =
      for [_, triple] <- Regex.scan(~r/^  "([a-z0-9_-]+)\|/m, table),
          do: Archive.name(triple)

    assert length(targets) == 6
    assert list == %{} or Enum.sort(Map.keys(list)) == Enum.sort(targets)
  end
end
