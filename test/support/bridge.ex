defmodule Linx.Test.Bridge do
  @moduledoc false
  # The output of bridge(8) in a network namespace. The newest that the host has: an older one
  # leaves out fields.

  alias Linx.Test.{Netns, NewerIproute2}

  @doc "What `bridge -json -details` prints of something, as terms."
  @spec show!(%Netns{}, String.t()) :: [term()]
  def show!(ns, what) do
    case ns |> Netns.run!("#{path()} -json -details #{what}") |> String.trim() do
      "" -> []
      json -> JSON.decode!(json)
    end
  end

  @doc "Runs it with arguments that change something: `{output, status}`."
  @spec run(%Netns{}, String.t()) :: {String.t(), non_neg_integer()}
  def run(ns, arguments), do: Netns.run(ns, "#{path()} #{arguments}")

  @spec run!(%Netns{}, String.t()) :: String.t()
  def run!(ns, arguments), do: Netns.run!(ns, "#{path()} #{arguments}")

  defp path do
    case NewerIproute2.find("bridge") do
      {:ok, path} -> path
      {:error, _} -> System.find_executable("bridge")
    end
  end
end
