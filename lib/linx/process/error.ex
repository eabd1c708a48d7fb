defmodule Linx.Process.Error do
  @moduledoc """
  Why a `Linx.Process` session ended before its workload ran, or without a word from it.

    * `:stage` is the step that failed, one of the stages listed in `Linx.Process`;
    * `:errno` is the errno's name, or `:unknown` for a number without one;
    * `:code` is the number itself. Only for `:agent_died` it is no errno: there it is the agent's
      exit status, and `:errno` is `:unknown`.

    * `:detail` is, in words, the file, the capability or the namespace that stage and errno leave
      open; nil where there is nothing to add. A file that is not there is not named: it is the
      first of the caller's own `:argv`;
    * `:output` is what `Linx.Process.run/1` had read when it ended the workload for `:timeout` or
      `:max_output`, else nil.

  The owner learns the same as `{:linx_process, :error, code, stage}`.
  """

  alias Linx.Errno

  @type t() :: %__MODULE__{
          __exception__: true,
          stage: atom(),
          errno: atom(),
          code: integer() | nil,
          detail: String.t() | nil,
          output: map() | nil
        }

  @derive {Inspect, optional: [:detail, :output]}
  defexception [:stage, :errno, :code, :detail, :output]

  @doc """
  Builds the error of `stage` from the number that the agent reported.

      iex> Linx.Process.Error.from_agent(2, :execve)
      %Linx.Process.Error{stage: :execve, errno: :enoent, code: 2}
  """
  @spec from_agent(integer(), atom()) :: t()
  def from_agent(code, :agent_died),
    do: %__MODULE__{stage: :agent_died, errno: :unknown, code: code}

  def from_agent(code, stage), do: %__MODULE__{stage: stage, errno: Errno.name(code), code: code}

  @impl true
  def message(%__MODULE__{stage: :agent_died, code: code}),
    do: "the agent ended with status #{code} and without a report"

  def message(%__MODULE__{stage: stage, errno: errno, code: code, detail: nil}),
    do: "#{stage}: #{errno} (#{code})"

  def message(%__MODULE__{stage: stage, errno: errno, code: code, detail: detail}),
    do: "#{stage}: #{errno} (#{code}): #{detail}"
end
