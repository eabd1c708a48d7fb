defmodule Linx.Process.DirectoryTest do
  # A VM whose working directory was removed: OTP starts no port there.
  #
  # Broken by hand: start_error/1 without lost_directory/0: no reason in the error.
  use ExUnit.Case, async: true

  alias Linx.Test.{Scratch, Vm}

  test "a VM whose directory was removed has no session, and the error says why" do
    folder = Scratch.path("gone")

    code =
      quote do
        File.mkdir_p!(var!(folder))
        File.cd!(var!(folder))
        File.rmdir!(var!(folder))
        refused = Linx.Process.run(argv: ["/bin/pwd"])
        File.cd!("/")
        {refused, Linx.Process.run(argv: ["/bin/pwd"])}
      end

    {refused, run} = Vm.eval(["env"], code, folder: folder)
    assert {:error, %{stage: :open_port, errno: :enoent} = error} = refused
    assert Exception.message(error) =~ "the VM's working directory was removed"
    assert {:ok, %{stdout: "/\n"}} = run
  end
end
