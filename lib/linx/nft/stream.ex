defmodule Linx.NFT.Stream do
  @moduledoc false
  # A file of nft text as a Linx.Netfilter.Stream: its long lists of elements stay text until they
  # are asked for, a thousand at a time.

  alias Linx.Netfilter.{Ruleset, Set}
  alias Linx.Netfilter.Map, as: NMap
  alias Linx.Netfilter.Stream
  alias Linx.NFT.Compiler.{ElementText, Later}
  alias Linx.NFT.{ParseError, Reading}

  # Elements of a message: 64 KiB hold 900 intervals.
  @chunk 1_000

  @doc false
  @spec new(Path.t()) :: Stream.t()
  def new(path),
    do: %Stream{read: fn -> read(path) end, value: fn -> Linx.NFT.parse_file(path) end}

  defp read(path) do
    with {:ok, source} <- File.read(path) do
      file = to_string(path)

      case Reading.fast(source, [file: file, strings: :nft],
             file: file,
             source: source,
             lazy: true
           ) do
        {:ok, ruleset} -> parted(ruleset)
        {:error, %ParseError{}} -> {:error, :invalid}
      end
    end
  end

  defp parted(%Ruleset{tables: tables} = ruleset) do
    large =
      for {{family, name}, table} <- Enum.sort_by(tables, &elem(&1, 0)),
          sets <- [table.sets, table.maps],
          {_, %{elements: %Later{} = later} = set} <- sets do
        set = %{set | elements: [], table: name}
        state = ElementText.state(later.key, later.data, later.scope)
        {family, set, fn -> more(set, later.text, state) end}
      end

    tables =
      Map.new(tables, fn {key, table} ->
        {key, %{table | sets: empty(table.sets), maps: empty(table.maps)}}
      end)

    {:ok, %{ruleset | tables: tables}, large}
  end

  defp empty(sets) do
    Map.new(sets, fn
      {name, %{elements: %Later{}} = set} -> {name, %{set | elements: []}}
      set -> set
    end)
  end

  defp more(_set, "", _state), do: :done

  defp more(set, text, state) do
    {elements, text, state} = ElementText.take(text, @chunk, state)
    Later.check!(set, elements, state)
    {:ok, values(set, elements, state), fn -> more(set, text, state) end}
  catch
    {:syntax, _meta, _message} -> {:error, :invalid}
  end

  # One element may be written twice.
  defp values(set, elements, %{last: :unordered} = state),
    do: set |> values(elements, %{state | last: nil}) |> Enum.uniq()

  defp values(%NMap{} = map, elements, %{final?: false}) do
    case NMap.add_elements(map, elements) do
      {:ok, map} -> map.elements
      {:error, reason} -> throw({:syntax, nil, inspect(reason)})
    end
  end

  defp values(set, elements, _state) when is_struct(set, Set) or is_struct(set, NMap),
    do: elements
end
