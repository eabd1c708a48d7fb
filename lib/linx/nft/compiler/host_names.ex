defmodule Linx.NFT.Compiler.HostNames do
  @moduledoc false
  # Names that only the host's own files know: users and groups, and the names iproute2 gives to
  # realms, marks and device groups. A file that is not there has no names.

  @doc false
  @spec value(atom(), String.t()) :: {:ok, non_neg_integer()} | :error
  def value(:uid, "root"), do: {:ok, 0}
  def value(:gid, "root"), do: {:ok, 0}
  def value(:uid, name), do: lookup("/etc/passwd", &account/1, name)
  def value(:gid, name), do: lookup("/etc/group", &account/1, name)
  def value(:realm, name), do: lookup("/etc/iproute2/rt_realms", &numbered/1, name)
  def value(:mark, name), do: lookup("/etc/iproute2/rt_marks", &numbered/1, name)
  def value(:devgroup, name), do: lookup("/etc/iproute2/group", &numbered/1, name)
  def value(:ct_label, name), do: lookup("/etc/connlabel.conf", &numbered/1, name)
  def value(_type, _name), do: :error

  @doc false
  @spec symbols(atom()) :: [String.t()]
  def symbols(:ct_label),
    do: "/etc/connlabel.conf" |> entries(&numbered/1) |> Enum.map(&elem(&1, 0))

  def symbols(_type), do: []

  defp lookup(path, parse, name) do
    case List.keyfind(entries(path, parse), name, 0) do
      {^name, n} -> {:ok, n}
      nil -> :error
    end
  end

  defp entries(path, parse) do
    case File.read(path) do
      {:ok, text} -> text |> String.split("\n") |> Enum.flat_map(parse)
      {:error, _} -> []
    end
  end

  # name:x:number:...
  defp account(line) do
    with [name, _, id | _] <- String.split(line, ":"),
         {n, ""} <- Integer.parse(id),
         do: [{name, n}],
         else: (_ -> [])
  end

  # number name
  defp numbered(line) do
    with [number, name | _] <- line |> String.split("#") |> hd() |> String.split(),
         {:ok, n} <- integer(number) do
      [{name, n}]
    else
      _ -> []
    end
  end

  defp integer("0x" <> hex), do: parsed(Integer.parse(hex, 16))
  defp integer(text), do: parsed(Integer.parse(text))

  defp parsed({n, ""}), do: {:ok, n}
  defp parsed(_), do: :error
end
