defmodule Linx.User.Map do
  @moduledoc """
  One range of a user namespace's uid or gid map: `length` ids from `inside` on are those from
  `outside` on in the namespace that reads the map.

  It is inspected as `#Linx.User.Map<0 -> 1000>`, and for more than one id with both ends, which
  are part of the range: `#Linx.User.Map<0..65535 -> 100000..165535>`.

  The same three numbers in a tuple are what `Linx.User.set_uid_map/2` takes:

      {:ok, maps} = Linx.User.read_uid_map(pid)
      Enum.map(maps, &{&1.inside, &1.outside, &1.length})

  Source: user_namespaces(7), "User and group ID mappings".
  """

  @type t() :: %__MODULE__{
          inside: non_neg_integer(),
          outside: non_neg_integer(),
          length: pos_integer()
        }

  defstruct [:inside, :outside, :length]

  @doc false
  @spec parse(binary()) :: [t()]
  # A line that is not three numbers is left out.
  def parse(text) do
    for line <- String.split(text, "\n", trim: true),
        [inside, outside, length] <- [line |> String.split() |> Enum.map(&natural/1)],
        inside && outside && length && length > 0 do
      %__MODULE__{inside: inside, outside: outside, length: length}
    end
  end

  defp natural(<<first, _::binary>> = text) when first in ?0..?9 do
    case Integer.parse(text) do
      {number, ""} -> number
      _ -> nil
    end
  end

  defp natural(_), do: nil

  defimpl Inspect do
    def inspect(%{length: 1} = map, _opts),
      do: "#Linx.User.Map<#{map.inside} -> #{map.outside}>"

    def inspect(%{inside: inside, outside: outside, length: length}, _opts)
        when is_integer(inside) and is_integer(outside) and is_integer(length) do
      "#Linx.User.Map<#{range(inside, length)} -> #{range(outside, length)}>"
    end

    def inspect(map, _opts) do
      "#Linx.User.Map<#{Kernel.inspect(map.inside)} -> #{Kernel.inspect(map.outside)}>"
    end

    defp range(first, length), do: "#{first}..#{first + length - 1}"
  end
end
