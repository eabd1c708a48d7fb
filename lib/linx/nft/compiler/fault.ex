defmodule Linx.NFT.Compiler.Fault do
  @moduledoc false
  # How the compiler stops: a throw with the node's position, turned into a ParseError where file
  # and source are known.

  @doc false
  @spec fail(map() | tuple(), String.t()) :: no_return()
  def fail(%{line: _} = meta, message), do: throw({:syntax, meta, message})
  def fail(node, message) when is_tuple(node), do: fail(meta(node), message)

  @doc false
  # The node's own place where it has one, else `meta`.
  @spec meta(term(), map()) :: map()
  def meta({:plus, node, _offset}, meta), do: meta(node, meta)

  def meta(node, meta) when is_tuple(node) do
    case elem(node, tuple_size(node) - 1) do
      %{line: _} = own -> own
      _ -> meta
    end
  end

  def meta(_node, meta), do: meta

  @doc false
  @spec meta(tuple()) :: map()
  def meta(node) do
    case elem(node, tuple_size(node) - 1) do
      %{line: _} = meta -> meta
      _ -> %{line: 1, column: 1}
    end
  end
end
