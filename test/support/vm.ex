defmodule Linx.Test.Vm do
  @moduledoc false
  # Another VM with this library, started under a command that changes what the kernel gives it (unshare, setpriv), for
  # what a test must not do to the machine's own namespaces or cannot do with this VM's privileges.

  @doc """
  Evaluates `code`, with `bindings`, in a VM that `wrapper` starts, and gives its value.

      Vm.eval(["unshare", "--mount"], quote do
        Linx.Mount.list()
      end)
  """
  @spec eval([String.t()], Macro.t(), keyword()) :: term()
  def eval([command | args], code, bindings \\ []) do
    folder = Path.join(System.tmp_dir!(), "linx-vm-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    File.write!(Path.join(folder, "in"), :erlang.term_to_binary({code, bindings}))

    try do
      {output, status} = System.cmd(command, args ++ elixir(folder), stderr_to_stdout: true)

      case File.read(Path.join(folder, "out")) do
        {:ok, answer} -> value(:erlang.binary_to_term(answer), output)
        {:error, _} -> raise "the VM under #{command} ended with #{status}: #{output}"
      end
    after
      File.rm_rf!(folder)
    end
  end

  defp value({:ok, value}, _output), do: value
  defp value({:raised, text}, output), do: raise("in the VM: #{text}\n#{output}")

  defp elixir(folder) do
    paths = [Application.app_dir(:linx, "ebin"), :code.lib_dir(:ex_unit) |> Path.join("ebin")]

    [System.find_executable("elixir")] ++
      Enum.flat_map(paths, &["-pa", to_string(&1)]) ++
      ["-e", "Linx.Test.Vm.main(#{inspect(folder)})"]
  end

  @doc "What the other VM runs."
  @spec main(String.t()) :: :ok
  def main(folder) do
    {code, bindings} = folder |> Path.join("in") |> File.read!() |> :erlang.binary_to_term()

    answer =
      try do
        {value, _} = Code.eval_quoted(code, bindings)
        {:ok, value}
      catch
        kind, reason -> {:raised, Exception.format(kind, reason, __STACKTRACE__)}
      end

    # Under another name first: the reader may look at any time.
    out = Path.join(folder, "out")
    File.write!(out <> ".new", :erlang.term_to_binary(answer))
    File.rename!(out <> ".new", out)
  end
end
