defmodule Linx.Errno.Exception do
  @moduledoc false
  # The base of an exception that holds the errno of a failed operation.
  #
  #     use Linx.Errno.Exception, subject: "user", fields: [:path, :operation, :errno, :code]
  #
  # defines the struct; a private `new/2`, which fills `:errno`, `:code` from an errno, an atom or
  # a number, and the other fields from a keyword list; and `message/1`,
  #
  #     user set_uid_map failed on /proc/1/uid_map: eperm (1)
  #
  # The module's own `step/1` replaces the words before "failed", its `hint/1` is appended: the
  # capability or the setting that is missing, with ": " before it.

  alias Linx.Errno

  defmacro __using__(opts) do
    quote do
      defexception unquote(opts[:fields])

      @spec new(atom() | integer(), keyword()) :: t()
      defp new(errno, fields), do: unquote(__MODULE__).new(__MODULE__, errno, fields)

      @impl Exception
      def message(%__MODULE__{} = error),
        do: unquote(__MODULE__).message(error, step(error), hint(error))

      defp step(error), do: "#{unquote(opts[:subject])} #{error.operation}"

      defp hint(_error), do: ""

      defoverridable step: 1, hint: 1
    end
  end

  @spec new(module(), atom() | integer(), keyword()) :: Exception.t()
  def new(module, errno, fields) do
    {errno, code} = Errno.pair(errno)
    struct!(module, [errno: errno, code: code] ++ fields)
  end

  @spec message(Exception.t(), String.t(), String.t()) :: String.t()
  def message(error, step, hint),
    do: "#{step} failed#{place(error)}: #{Errno.text(error.errno, error.code)}#{hint}"

  defp place(%{path: path}) when path != nil, do: " on #{path}"
  defp place(_error), do: ""
end
