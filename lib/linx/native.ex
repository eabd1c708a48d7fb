defmodule Linx.Native do
  @moduledoc false
  # The one NIF library. Loading is tolerant: a strict @on_load would stop an embedded-mode release at boot, and on a
  # Nerves build machine the library is for another CPU. A stub that is reached without a library raises
  # {:nif_not_loaded, reason}.
  #
  # Numbers and bytes cross here; names stay in Elixir. Errors are {:error, {stage, errno}} with the kernel's number.
  # A `target` is "" for the VM's own namespaces, a namespace file's path, a pid (pinned inside the call), or a pin.

  @on_load :load

  @type errno :: pos_integer()
  @type fault :: {:error, {stage :: atom(), errno()}}
  @opaque pin :: reference()
  @type target :: binary() | pos_integer() | pin()

  @doc false
  def load do
    path = :filename.join(priv_dir(), ~c"linx_nif")

    case :erlang.load_nif(path, 0) do
      :ok -> :persistent_term.erase({__MODULE__, :reason})
      {:error, reason} -> :persistent_term.put({__MODULE__, :reason}, reason)
    end

    :ok
  end

  @doc "Whether the library is loaded, and if not why: `:ok | {:error, {atom, text}}`."
  @spec status() :: :ok | {:error, {atom(), charlist()}}
  def status do
    case :persistent_term.get({__MODULE__, :reason}, nil) do
      nil -> :ok
      reason -> {:error, reason}
    end
  end

  # The app's priv directory, also in a shell that was started with -pa and no lib structure around the ebin.
  @doc false
  def priv_dir do
    case :code.priv_dir(:linx) do
      {:error, :bad_name} ->
        :filename.join(:filename.dirname(:filename.dirname(:code.which(__MODULE__))), ~c"priv")

      dir ->
        dir
    end
  end

  defp not_loaded,
    do: :erlang.nif_error({:nif_not_loaded, :persistent_term.get({__MODULE__, :reason}, nil)})

  # -- pins ------------------------------------------------------------------------------------------------------------

  @spec pid_pin(pos_integer()) :: {:ok, pin()} | fault()
  def pid_pin(_pid), do: not_loaded()

  @spec pid_alive(pin()) :: boolean()
  def pid_alive(_pin), do: not_loaded()

  # -- capabilities ----------------------------------------------------------------------------------------------------

  # -- mount -----------------------------------------------------------------------------------------------------------

  # -- netfilter -------------------------------------------------------------------------------------------------------

  # -- netlink ---------------------------------------------------------------------------------------------------------

  # -- process ---------------------------------------------------------------------------------------------------------

  # -- seccomp ---------------------------------------------------------------------------------------------------------

  # -- sysctl ----------------------------------------------------------------------------------------------------------

  # -- tty -------------------------------------------------------------------------------------------------------------

  # -- user ------------------------------------------------------------------------------------------------------------
end
