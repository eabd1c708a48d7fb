defmodule Linx.Cgroup.Reconcile do
  @moduledoc """
  Makes the limits of one cgroup what you say, in one pass, and says what it did.

      desired = %{
        "memory.max" => 256 * 1024 * 1024,
        "pids.max" => 100,
        "cpu.max" => {50_000, 100_000}
      }

      {:ok, report} = Linx.Cgroup.Reconcile.reconcile("/sys/fs/cgroup/myorg/web-42", desired)
      {:ok, report} = Linx.Cgroup.Reconcile.reconcile(cg, desired, report.last_applied)

  It reads each interface file, writes those that differ, and tries all of them whatever happens
  to one. It makes no cgroup, enables no controller and moves no process: those belong to whoever
  owns the group. Where the group or a controller is missing the write fails, that is in the
  report, and the next pass tries again.

  Ownership is as in `Linx.Sysctl.Reconcile`: a pass hands the next one `last_applied`, with the
  text each file had before our first write. A file that is no longer desired is released,
  `{:release, file}`, and keeps its value; with `revert_on_release: true` the original is written
  back, `{:revert, file, original}`.

  ## Values

    * a number, in the file's unit: bytes, processes, a weight from 1 to 10000;
    * `:max`, no limit;
    * `{quota, period}` in microseconds, for `cpu.max`; `:max` there means no quota, whatever the
      period;
    * a text, written as it is, for any other file.

  The kernel does not give back the words that it was given. It rounds `memory.max` and its
  relatives down to whole pages, so a limit of 5000 bytes is met by the 4096 that the file then
  says (where pages are larger than that, such a limit is written again by each pass); it knows
  `"1G"` as a number, prints `"0,1,2"` of `cpuset.cpus` as `0-2`, and completes the line of a
  device in `io.max`. All these count as met. `io.max` takes one device a write, so a text of one
  line.

  Source: Documentation/admin-guide/cgroup-v2.rst.
  """

  alias Linx.Cgroup
  alias Linx.Cgroup.Reconcile.{Report, Written}
  alias Linx.Reconcile.ThreeWay

  @typedoc "The name of an interface file, such as `\"memory.max\"`."
  @type file :: String.t()

  @typedoc "What a file should hold."
  @type value :: non_neg_integer() | :max | {pos_integer(), pos_integer()} | binary()

  @typedoc "The value that each file should have."
  @type desired :: %{optional(file()) => value()}

  @typedoc "What was written so far. Begin with `%{}`."
  @type last_applied :: %{optional(file()) => ownership()}

  @typedoc """
  The value last written to a file, and its text before the first time, `nil` if it could not be
  read.
  """
  @type ownership :: %{applied: value(), original: binary() | nil}

  @typedoc """
  A write of a desired value, a write of the original one, or the end of an ownership, which
  writes nothing.
  """
  @type op :: {:set, file(), value()} | {:revert, file(), binary()} | {:release, file()}

  @typedoc """
  `:revert_on_release`: whether a released file gets its original back. Default `false`.
  """
  @type opts :: [revert_on_release: boolean()]

  @doc """
  One pass over the cgroup at `cg`.

  Answers `{:ok, report}` also when writes failed: those are in `report.failed` with their errors.
  Raises `ArgumentError` for an unknown option or a value of no known shape, before any file is
  touched.
  """
  @spec reconcile(Cgroup.cgroup(), desired(), last_applied(), opts()) :: {:ok, Report.t()}
  def reconcile(cg, desired, last_applied \\ %{}, opts \\ []) do
    check!(desired)
    files = Enum.uniq(Map.keys(desired) ++ Map.keys(last_applied))
    observed = observe(cg, files)

    fields =
      observed
      |> diff(desired, last_applied, opts)
      |> ThreeWay.apply(observed, last_applied, &Cgroup.write(cg, &1, text(&2)))

    {:ok, struct!(Report, fields)}
  end

  @doc """
  The current text of each file that can be read. A file that cannot is left out: the write that
  follows has the error.
  """
  @spec observe(Cgroup.cgroup(), [file()]) :: %{optional(file()) => binary()}
  def observe(cg, files) do
    for file <- files, {:ok, text} <- [Cgroup.read(cg, file)], into: %{} do
      {file, String.trim(text)}
    end
  end

  @doc """
  The ops that a pass would make. Touches nothing.

      iex> Linx.Cgroup.Reconcile.diff(%{"pids.max" => "max"}, %{"pids.max" => 100})
      [{:set, "pids.max", 100}]

  Sets come first, then releases, each by file.
  """
  @spec diff(%{optional(file()) => binary()}, desired(), last_applied(), opts()) :: [op()]
  def diff(observed, desired, last_applied \\ %{}, opts \\ []) do
    [revert_on_release: revert?] = Keyword.validate!(opts, revert_on_release: false)

    if not is_boolean(revert?) do
      raise ArgumentError, ":revert_on_release is true or false"
    end

    ThreeWay.ops(observed, desired, last_applied, revert?, &Written.same?/3)
  end

  # A value of no known shape is the caller's mistake, found before any file is touched.
  defp check!(desired) do
    with {:error, error} <- check(desired), do: raise(error)
  end

  @doc false
  @spec check(term()) :: :ok | {:error, Exception.t()}
  def check(desired) when is_map(desired) do
    case Enum.find(desired, fn {file, value} -> not (file?(file) and value?(value)) end) do
      nil -> :ok
      {file, value} -> bad("not a cgroup limit: #{inspect(file)} => #{inspect(value)}")
    end
  end

  def check(other), do: bad("not a map of cgroup limits: #{inspect(other)}")

  defp bad(text), do: {:error, %ArgumentError{message: text}}

  defp file?(file),
    do:
      is_binary(file) and file not in ["", ".", ".."] and not String.contains?(file, ["/", "\0"])

  defp value?(:max), do: true
  # 64 bits are what the kernel reads; of a limit of memory it drops the rest.
  defp value?(number) when is_integer(number), do: number in 0..0xFFFFFFFFFFFFFFFF
  defp value?(text) when is_binary(text), do: true

  defp value?({quota, period}) when is_integer(quota) and is_integer(period),
    do: quota > 0 and period > 0

  defp value?(_other), do: false

  defp text(:max), do: "max"
  defp text({quota, period}), do: "#{quota} #{period}"
  defp text(value), do: value
end
