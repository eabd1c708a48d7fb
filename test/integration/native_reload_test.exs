defmodule Linx.Integration.NativeReloadTest do
  # Linx.Native loaded again in a VM that runs, as a code server does it on an upgrade or a shell
  # on request.
  use ExUnit.Case, async: true

  alias Linx.Test.Vm

  defp in_another_vm(code), do: Vm.eval(["env"], code)

  test "a second load is refused, and the first goes on with its library and its terms" do
    answer =
      in_another_vm(
        quote do
          pid = String.to_integer(System.pid())
          {:ok, pin} = Linx.Native.pid_pin(pid)
          loads = for _ <- 1..3, do: {:code.purge(Linx.Native), :code.load_file(Linx.Native)}

          {loads, Linx.Native.status(), Linx.Native.nif_version(), Linx.Native.pid_alive(pin),
           Linx.Native.pid_of(pin) == pid}
        end
      )

    assert {loads, :ok, "linx_nif", true, true} = answer
    assert Enum.uniq(loads) == [{false, {:error, :on_load_failure}}]
  end

  test "after it was taken out of the VM it loads anew, and terms of before are refused" do
    answer =
      in_another_vm(
        quote do
          {:ok, pin} = Linx.Native.pid_pin(String.to_integer(System.pid()))

          for _ <- 1..3 do
            true = :code.delete(Linx.Native)
            :code.purge(Linx.Native)
            {:module, _} = :code.load_file(Linx.Native)
            :erlang.garbage_collect()
          end

          refused =
            try do
              Linx.Native.pid_alive(pin)
            rescue
              ArgumentError -> :refused
            end

          {Linx.Native.status(), Linx.Native.nif_version(), refused}
        end
      )

    assert answer == {:ok, "linx_nif", :refused}
  end
end
