defmodule Linx.Sysctl.Key do
  @moduledoc false
  # A key in dot form, and the files below /proc/sys that it may mean.
  #
  # A dot stands for a slash, and an interface may have one in its name:
  # net.ipv4.conf.eth0.10.proxy_arp is net/ipv4/conf/eth0.10/proxy_arp where there is such an
  # interface. So a key has one path where no name holds a dot, and more where one of its names,
  # of neighbouring parts, does. The plain one comes first.

  @root "/proc/sys"

  # 1 + 120 paths; no key of the kernel's has half as many parts.
  @max_parts 16

  @doc "The paths below `/proc/sys` that `key` may mean, the plain one first."
  @spec paths(term()) :: {:ok, [String.t(), ...]} | {:error, {:bad_key, term()}}
  def paths(key) when is_binary(key) do
    parts = String.split(key, ".")
    if Enum.all?(parts, &part?/1), do: {:ok, candidates(parts)}, else: {:error, {:bad_key, key}}
  end

  # A list has one name an element, of any characters that a name may have, and so one path.
  def paths([_ | _] = names) do
    if not List.improper?(names) and Enum.all?(names, &component?/1),
      do: {:ok, [Enum.join(names, "/")]},
      else: {:error, {:bad_key, names}}
  end

  def paths(key), do: {:error, {:bad_key, key}}

  defp component?(name),
    do:
      is_binary(name) and name not in ["", ".", ".."] and not String.contains?(name, ["/", "\0"])

  @doc """
  The key of `path`, below `/proc/sys`: in dot form where its first reading, of those that are
  among `present`, is this path, else the list of its names.
  """
  @spec of_path(String.t(), MapSet.t(String.t())) :: Linx.Sysctl.key()
  def of_path(path, present) do
    key = String.replace(path, "/", ".")

    with {:ok, readings} <- paths(key),
         ^path <- Enum.find(readings, &(&1 == path or &1 in present)) do
      key
    else
      _ -> String.split(path, "/")
    end
  end

  @doc "The absolute path."
  @spec absolute(String.t()) :: String.t()
  def absolute(""), do: @root
  def absolute(path), do: @root <> "/" <> path

  defp candidates(parts) do
    plain = Enum.join(parts, "/")
    count = length(parts)

    if count > @max_parts do
      [plain]
    else
      [
        plain
        | for(size <- 2..count//1, first <- 0..(count - size), do: joined(parts, first, size))
      ]
    end
  end

  defp joined(parts, first, size) do
    {before, rest} = Enum.split(parts, first)
    {name, following} = Enum.split(rest, size)
    Enum.join(before ++ [Enum.join(name, ".")] ++ following, "/")
  end

  defp part?(""), do: false
  defp part?(part), do: name?(part)

  defp name?(<<byte, rest::binary>>)
       when byte in ?A..?Z or byte in ?a..?z or byte in ?0..?9 or byte == ?_ or byte == ?-,
       do: name?(rest)

  defp name?(<<>>), do: true
  defp name?(_), do: false
end
