defmodule Linx.NFT.Compiler.Include do
  @moduledoc false
  # include "path": the items of another file in its place. A pattern stands for the files that it matches, in the order of their
  # names, and for none if there are none; a file that includes itself is refused.

  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.{ParseError, Parser, Tokenizer}

  # nft gives up at this depth as well.
  @depth 16

  @doc false
  def include(path, meta, plan, run), do: each(path, meta, plan, run, &parse/2)

  @doc false
  # Inside a table the file holds what stands in a table.
  def include_in_table(path, meta, plan, run), do: each(path, meta, plan, run, &parse_items/2)

  defp each(path, meta, plan, run, parse) do
    unless is_binary(path), do: Fault.fail(meta, "expected a path in quotes")

    if length(plan.including) > @depth,
      do: Fault.fail(meta, "files are included more than #{@depth} deep")

    path
    |> files(meta, plan)
    |> Enum.reduce(plan, fn file, plan ->
      if file in plan.including, do: Fault.fail(meta, "#{path} includes itself")
      {items, source} = read(file, path, meta, parse)
      inner = %{plan | including: [file | plan.including], file: file, origin: {file, source}}

      result = at(inner.origin, fn -> run.(items, inner) end)
      %{result | including: plan.including, file: plan.file, origin: plan.origin}
    end)
  end

  @doc false
  # What is wrong in an included file is wrong in that file, at its line.
  def at(nil, fun), do: fun.()

  def at({file, source}, fun) do
    fun.()
  catch
    {:syntax, meta, message} ->
      throw({:included, Parser.error(meta, message, file: file, source: source)})
  end

  defp files(path, meta, plan) do
    beside = if plan.file == "nofile", do: [], else: [Path.expand(path, Path.dirname(plan.file))]
    candidates = Enum.uniq(beside ++ [Path.expand(path)])

    if String.contains?(path, ["*", "?", "["]) do
      Enum.find_value(candidates, [], fn pattern ->
        case Path.wildcard(pattern) do
          [] -> nil
          found -> found |> Enum.reject(&File.dir?/1) |> Enum.sort()
        end
      end)
    else
      case Enum.find(candidates, &File.regular?/1) do
        nil -> Fault.fail(meta, "cannot read #{path}: no such file")
        file -> [file]
      end
    end
  end

  defp read(file, path, meta, parse) do
    case File.read(file) do
      {:ok, source} -> {parse.(source, file), source}
      {:error, reason} -> Fault.fail(meta, "cannot read #{path}: #{:file.format_error(reason)}")
    end
  end

  defp parse(source, file) do
    with {:ok, tokens} <- Tokenizer.tokenize(source, file: file, strings: :nft),
         {:ok, items} <- Parser.parse(tokens, file: file, source: source) do
      items
    else
      {:error, %ParseError{} = error} -> throw({:included, error})
    end
  end

  defp parse_items(source, file) do
    with {:ok, tokens} <- Tokenizer.tokenize(source, file: file, strings: :nft),
         {:ok, items} <- Parser.parse_table_items(tokens, file: file, source: source) do
      items
    else
      {:error, %ParseError{} = error} -> throw({:included, error})
    end
  end
end
