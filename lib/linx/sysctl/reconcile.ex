defmodule Linx.Sysctl.Reconcile do
  @moduledoc """
  Makes a set of sysctls have the values you name, in one pass, and says what it did.

      desired = %{"net.ipv4.ip_forward" => 1, "kernel.printk" => [4, 4, 1, 7]}

      {:ok, report} = Linx.Sysctl.Reconcile.reconcile(desired)
      {:ok, report} = Linx.Sysctl.Reconcile.reconcile(desired, report.last_applied)
      report.applied
      #=> [], nothing had changed

  A pass reads each key, writes those that differ, and tries all of them whatever happens to one.
  Nothing runs between passes and nothing is stored: `Linx.Reconcile` repeats them, if you want
  that.

  ## Ownership

  Sysctls carry no mark of who set them. So that a key that you stop naming can be told from one
  you never touched, each report has `last_applied`, which the next pass takes:

      %{key => %{applied: what_we_wrote, original: what_was_there_before_our_first_write}}

  A key that was written and is no longer desired is **released**. There is no "unset" in
  `/proc/sys`: by default its value stays and the pass only forgets it, `{:release, key}`. With
  `revert_on_release: true` the original goes back, `{:revert, key, original}`; an original of
  several lines, which no write takes back, is released. A key that had the right value all along
  was never written and is not owned.

  ## Values

  As for `Linx.Sysctl.write/3`. Numbers are the same however the kernel spaces them:
  `[4, 4, 1, 7]` and `"4 4 1 7"` are both what it prints as `4\\t4\\t1\\t7`.

  Sources: proc_sys(5); Documentation/admin-guide/sysctl.
  """

  alias Linx.Reconcile.ThreeWay
  alias Linx.Sysctl
  alias Linx.Sysctl.Reconcile.Report
  alias Linx.Target

  @typedoc "The value that each key should have."
  @type desired :: %{optional(Sysctl.key()) => Sysctl.value()}

  @typedoc "What was written so far. Begin with `%{}`."
  @type last_applied :: %{optional(Sysctl.key()) => ownership()}

  @typedoc """
  The value last written to a key, and the text that was there before the first time, `nil` if it
  could not be read.
  """
  @type ownership :: %{applied: Sysctl.value(), original: Sysctl.value() | nil}

  @typedoc """
  A write of a desired value, a write of the original one, or the end of an ownership, which
  writes nothing.
  """
  @type op ::
          {:set, Sysctl.key(), Sysctl.value()}
          | {:revert, Sysctl.key(), Sysctl.value()}
          | {:release, Sysctl.key()}

  @typedoc """
    * `:in` - whose values, as for every verb of `Linx.Sysctl`.
    * `:revert_on_release` - whether a released key gets its original back. Default `false`.
  """
  @type opts :: [in: Sysctl.in_target(), revert_on_release: boolean()]

  @doc """
  One pass.

  Answers `{:ok, report}` also when writes failed: those are in `report.failed` with their errors,
  and the next pass tries them again. Raises `ArgumentError` for an unknown option or an `:in`
  that names nothing.
  """
  @spec reconcile(desired(), last_applied(), opts()) :: {:ok, Report.t()}
  def reconcile(desired, last_applied \\ %{}, opts \\ []) do
    opts = check!(opts)
    at = [in: opts[:in]]
    # Also where there is no key to find it out by.
    _ = opts[:in] |> Target.resolve() |> good_in!()
    keys = Enum.uniq(Map.keys(desired) ++ Map.keys(last_applied))
    observed = observe(keys, at)

    fields =
      observed
      |> diff(desired, last_applied, opts)
      |> ThreeWay.apply(observed, last_applied, &write(&1, &2, at))

    {:ok, struct!(Report, fields)}
  end

  @doc """
  The current text of each key that can be read. A key that cannot is left out: the write that
  follows has the error.
  """
  @spec observe([Sysctl.key()], opts()) :: %{optional(Sysctl.key()) => binary()}
  def observe(keys, opts \\ []) do
    at = [in: check!(opts)[:in]]

    for key <- keys, {:ok, text} <- [key |> Sysctl.read(at) |> good_in!()], into: %{} do
      {key, text}
    end
  end

  @doc """
  The ops that a pass would make. Touches nothing.

      iex> Linx.Sysctl.Reconcile.diff(%{"vm.swappiness" => "60"}, %{"vm.swappiness" => 10})
      [{:set, "vm.swappiness", 10}]

  Sets come first, then releases, each by key.
  """
  @spec diff(%{optional(Sysctl.key()) => binary()}, desired(), last_applied(), opts()) :: [op()]
  def diff(observed, desired, last_applied \\ %{}, opts \\ []) do
    revert? = check!(opts)[:revert_on_release]

    ThreeWay.ops(observed, desired, writable(last_applied), revert?, fn _key, text, value ->
      same?(text, value)
    end)
  end

  # Several lines (what fs.binfmt_misc tells of a format) are a report: no write takes them back,
  # in this pass or another.
  defp writable(last_applied) do
    Map.new(last_applied, fn {key, ownership} ->
      if is_binary(ownership.original) and String.contains?(ownership.original, "\n"),
        do: {key, %{ownership | original: nil}},
        else: {key, ownership}
    end)
  end

  defp check!(opts) do
    opts = Keyword.validate!(opts, in: :self, revert_on_release: false)

    if not is_boolean(opts[:revert_on_release]) do
      raise ArgumentError, ":revert_on_release is true or false"
    end

    opts
  end

  defp write(key, value, at), do: key |> Sysctl.write(value, at) |> good_in!()

  defp good_in!({:error, {:bad_in, target}}),
    do: raise(ArgumentError, "bad :in option: #{inspect(target)}")

  defp good_in!(answer), do: answer

  defp same?(text, value) when is_integer(value),
    do: String.trim(text) == Integer.to_string(value)

  defp same?(text, values) when is_list(values),
    do: String.split(text) == Enum.map(values, &to_text/1)

  defp same?(text, value) when is_binary(value) do
    String.trim(text) == String.trim(value) or
      (numbers?(value) and String.split(text) == String.split(value))
  end

  # Not a value: the write has the error.
  defp same?(_text, _value), do: false

  defp to_text(number) when is_integer(number), do: Integer.to_string(number)
  defp to_text(_other), do: nil

  defp numbers?(text), do: text =~ ~r/^[-0-9\s]+$/
end
