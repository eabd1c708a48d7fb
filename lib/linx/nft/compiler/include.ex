defmodule Linx.NFT.Compiler.Include do
  @moduledoc false
  # include "path": the items of another file in its place. A pattern stands for the files that it
  # matches, in the order of their names, and for none if there are none; a file that includes
  # itself is refused.

  alias Linx.NFT.Compiler.Fault
  alias Linx.NFT.{ParseError, Parser, Tokenizer}

  # nft gives up at this depth as well.
  @depth 16

  @doc false
  # `block` is what the file stands in: nil at the top, else as `Linx.NFT.Parser.parse_inside/3`
  # has it. `run` is called with what the file holds and the plan.
  def include(path, meta, block, plan, run) do
    run = fn items, {plan, nil} -> {run.(items, plan), nil} end
    {plan, nil} = include_with(path, meta, block, plan, nil, run)
    plan
  end

  @doc false
  # As `include/5`, with an accumulator of the caller beside the plan.
  def include_with(path, meta, block, plan, acc, run) do
    unless is_binary(path), do: Fault.fail(meta, "expected a path in quotes")

    if length(plan.including) > @depth,
      do: Fault.fail(meta, "files are included more than #{@depth} deep")

    path
    |> files(meta, plan)
    |> Enum.reduce({plan, acc}, fn file, {plan, acc} ->
      if file in plan.including, do: Fault.fail(meta, "#{path} includes itself")
      {items, source} = read(file, path, meta, block, plan)
      inner = %{plan | including: [file | plan.including], file: file, origin: {file, source}}

      {result, acc} = at(inner.origin, fn -> run.(items, {inner, acc}) end)
      {%{result | including: plan.including, file: plan.file, origin: plan.origin}, acc}
    end)
  end

  @doc false
  # Reports an error of an included file with that file's name and line.
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

  defp read(file, path, meta, block, plan) do
    case File.read(file) do
      {:ok, source} -> {parse(source, file, block, plan.element_text), source}
      {:error, reason} -> Fault.fail(meta, "cannot read #{path}: #{:file.format_error(reason)}")
    end
  end

  defp parse(source, file, block, element_text) do
    opts = [file: file, source: source]
    tokens = [file: file, strings: :nft, element_text: element_text]

    with {:ok, tokens} <- Tokenizer.tokenize(source, tokens),
         {:ok, items} <- parsed(tokens, block, opts) do
      items
    else
      {:error, %ParseError{} = error} -> throw({:included, error})
    end
  end

  defp parsed(tokens, nil, opts), do: Parser.parse(tokens, opts)
  defp parsed(tokens, block, opts), do: Parser.parse_inside(tokens, block, opts)

  @doc false
  # The tree with the file of each node in its place, for what is compiled after the include has
  # ended: `Linx.NFT.Parser.error/3` names that file.
  def marked(tree, nil), do: tree
  def marked(%{line: _, column: _} = meta, origin), do: Map.put_new(meta, :origin, origin)
  def marked([head | tail], origin), do: [marked(head, origin) | marked(tail, origin)]

  def marked(tuple, origin) when is_tuple(tuple),
    do: tuple |> Tuple.to_list() |> Enum.map(&marked(&1, origin)) |> List.to_tuple()

  def marked(other, _origin), do: other
end
