defmodule Linx.Reconcile.Source do
  @moduledoc """
  What a subsystem gives `Linx.Reconcile` so that the loop can keep it converged.

  A source is an adapter: it knows which single-shot reconciler to call and how to be told that
  something changed. The loop knows neither. Each subsystem keeps its own, richer functions
  (`Linx.Sysctl.Reconcile`, `Linx.Cgroup.Reconcile`, `Linx.Netlink.Rtnl.Reconcile`), which work
  without any loop.

  ## Scope

  A term that says where the source acts. The loop hands it to every callback unchanged: the `:in`
  target for sysctls, a network namespace for rtnetlink, a directory for cgroups, whatever suits a
  source of your own.

  ## Report

  A pass that ran answers `{:ok, report}`, also when some of its operations failed. The loop reads
  two fields: `:converged?` and `:last_applied`. `{:error, reason}` means that there was no pass:
  the kernel could not be read, or the desired state makes no sense. The loop then keeps the
  `last_applied` it had and tries again later.

      defmodule MyApp.HostsSource do
        @behaviour Linx.Reconcile.Source

        @impl true
        def reconcile(path, desired, _last_applied, _opts) do
          with :ok <- File.write(path, desired) do
            {:ok, %{converged?: true, last_applied: %{}}}
          end
        end

        @impl true
        def subscribe(_path, _owner), do: :unsupported
      end
  """

  @typedoc "Where the source acts. The loop never looks inside."
  @type scope :: term()

  @typedoc "What should be, in the shape that the subsystem's reconciler takes."
  @type desired :: term()

  @typedoc "What is, in the subsystem's own shape."
  @type observed :: term()

  @typedoc """
  What the reconciler has installed so far, carried from pass to pass by its caller. `%{}` is
  nothing yet.
  """
  @type last_applied :: term()

  @typedoc "The subsystem's options for a pass, from the loop's `:reconcile_opts`."
  @type opts :: keyword()

  @typedoc """
  What a pass did. Only these two fields matter to the loop; a subsystem's own report has more.
  """
  @type report :: %{
          :converged? => boolean(),
          :last_applied => last_applied(),
          optional(atom()) => term()
        }

  @doc """
  Makes one pass: reads the kernel, compares with `desired`, applies the difference.

  `last_applied` is what the previous pass reported, or the empty state of the first one.
  """
  @callback reconcile(scope(), desired(), last_applied(), opts()) ::
              {:ok, report()} | {:error, term()}

  @doc """
  Starts a process that sends `owner` a message whenever something in `scope` may have changed.

  The messages may have any shape: each one means "look now" and nothing more. `owner` is a
  process that the loop has for them and that ends with it. The loop links itself to the process
  that this starts. `:unsupported` says that the kernel has no such notice to give.
  """
  @callback subscribe(scope(), owner :: pid()) ::
              {:ok, pid()} | {:error, term()} | :unsupported

  @doc """
  Reads the current state. The loop does not call it; it is there for people who want to look.
  """
  @callback observe(scope(), opts()) :: {:ok, observed()} | {:error, term()}

  @optional_callbacks observe: 2
end
