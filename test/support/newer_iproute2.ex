defmodule Linx.Test.NewerIproute2 do
  @moduledoc false
  # The programs of an iproute2 that knows the protocol of an address (IFA_PROTO), which Debian
  # 12's does not: of the folder that LINX_IPROUTE2 names, of the one that `bin/setup --with-nft`
  # unpacked, or the machine's own, whichever comes first and is new enough.

  alias Linx.Test.Unpacked

  # The first release whose `ip address` takes and shows `proto`.
  @min_version [6, 4]

  @doc """
  The path of one of its programs (`ip`, `tc`, `bridge`, `ss`), or the reason why there is none.
  """
  @spec find(String.t()) :: {:ok, String.t()} | {:error, String.t()}
  def find(program) do
    unpacked =
      for folder <- [System.get_env("LINX_IPROUTE2"), Unpacked.path("iproute2")],
          folder,
          sub <- ["bin", "sbin"],
          do: Path.join([folder, "usr", sub, program])

    paths = unpacked ++ [System.find_executable(program)]
    pattern = ~r/(?:iproute2-|bridge utility, )(\d+(?:\.\d+)+)/

    case Unpacked.first(paths, "-V", pattern, @min_version) do
      nil ->
        {:error,
         "no #{program} of iproute2 #{Enum.join(@min_version, ".")} or newer; " <>
           "run bin/setup --with-nft, or set LINX_IPROUTE2"}

      path ->
        {:ok, path}
    end
  end

  @spec path!(String.t()) :: String.t()
  def path!(program) do
    case find(program) do
      {:ok, path} -> path
      {:error, reason} -> raise reason
    end
  end
end
