defmodule Linx.Netlink.Listener do
  @moduledoc false
  # The process that reads a netlink socket for an owner: Rtnl.Monitor, Netfilter.Monitor and
  # Netfilter.Log are callback modules of it.
  #
  # It reads when the socket is readable, no faster than its owner (Linx.Netlink.Inbox), and ends
  # when its owner does. It closes the socket itself where it ends in an orderly way; the native
  # library closes that of a killed one.

  alias Linx.Netlink.Inbox

  @typedoc "The callback module's own state; `owner` is the process that it reports to."
  @type state() :: %{required(:owner) => pid(), optional(atom()) => term()}

  @doc "Opens the socket. The options are checked already."
  @callback open(keyword()) :: {:ok, Inbox.t(), state()} | {:error, term()}

  @doc "Messages in the order of the socket."
  @callback handle_messages([tuple()], state()) :: state()

  @doc "The kernel dropped messages at this place."
  @callback handle_loss(state()) :: state()

  @doc "A call of the callback module's own functions."
  @callback handle_request(term(), GenServer.from(), state()) :: {:reply, term(), state()}

  @doc "A process that the callback module monitors has ended."
  @callback handle_down(reference(), state()) :: state()

  @doc "The listener ends; its socket is still open."
  @callback close(Inbox.t(), state()) :: term()

  defmacro __using__(form: form) do
    quote do
      use GenServer

      @behaviour unquote(__MODULE__)

      @impl GenServer
      def init(opts), do: unquote(__MODULE__).init(__MODULE__, unquote(form), opts)

      @impl GenServer
      def handle_continue(:read, listener), do: unquote(__MODULE__).read(listener)

      @impl GenServer
      def handle_call(request, from, listener) do
        {:reply, reply, state} = handle_request(request, from, listener.state)
        {:reply, reply, %{listener | state: state}}
      end

      @impl GenServer
      def handle_info(message, listener), do: unquote(__MODULE__).handle_info(message, listener)

      @impl GenServer
      def terminate(_reason, listener), do: unquote(__MODULE__).terminate(listener)

      @impl unquote(__MODULE__)
      def handle_request(request, _from, _state), do: exit({:bad_call, request})

      @impl unquote(__MODULE__)
      def handle_down(_reference, state), do: state

      @impl unquote(__MODULE__)
      def close(_inbox, _state), do: :ok

      defoverridable handle_request: 3, handle_down: 2, close: 2
    end
  end

  @doc "The callback of GenServer, for a callback module and the form in which it reads."
  @spec init(module(), Linx.Native.netlink_form(), keyword()) ::
          {:ok, map(), {:continue, :read}} | {:error, term()}
  def init(module, form, opts) do
    case module.open(opts) do
      {:ok, inbox, state} ->
        listener = %{
          module: module,
          form: form,
          inbox: inbox,
          owner: Process.monitor(state.owner),
          state: state
        }

        {:ok, listener, {:continue, :read}}

      # Not {:stop, _}: that would take the caller with it.
      {:error, reason} ->
        {:error, reason}
    end
  end

  @spec handle_info(term(), map()) :: {:noreply, map()} | {:stop, term(), map()}
  def handle_info({:linx_netlink_readable, _reference}, listener), do: read(listener)

  def handle_info({:DOWN, owner, :process, _pid, _reason}, %{owner: owner} = listener),
    do: {:stop, :normal, listener}

  def handle_info({:DOWN, reference, :process, _pid, _reason}, listener),
    do: {:noreply, %{listener | state: listener.module.handle_down(reference, listener.state)}}

  def handle_info({:EXIT, _pid, reason}, listener), do: {:stop, reason, listener}
  def handle_info(_other, listener), do: {:noreply, listener}

  @spec terminate(map()) :: :ok
  def terminate(%{inbox: inbox} = listener) do
    listener.module.close(inbox, listener.state)
    Inbox.close(inbox)
  end

  @spec read(map()) :: {:noreply, map()} | {:stop, term(), map()}
  def read(%{module: module} = listener) do
    case Inbox.read(listener.inbox, listener.form) do
      {:ok, messages, lost?, inbox} ->
        state = module.handle_messages(messages, listener.state)
        state = if lost?, do: module.handle_loss(state), else: state
        {:noreply, %{listener | inbox: inbox, state: state}}

      {:error, reason} ->
        {:stop, reason, listener}
    end
  end
end
