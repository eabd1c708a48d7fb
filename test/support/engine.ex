defmodule Linx.Test.Engine do
  @moduledoc false
  # A VM behind the default seccomp profile, and with the default capabilities, of a container
  # engine.

  alias Linx.Seccomp.Syscalls
  alias Linx.Test.Scratch

  @profiles Path.expand("engine_profiles.txt", __DIR__)
  @source Path.expand("engine_filter.c", __DIR__)

  # Docker's list in its documentation, "Runtime privilege and Linux capabilities";
  # containers.conf(5).
  @podman ~w(chown dac_override fowner fsetid kill net_bind_service setfcap setgid setpcap setuid
             sys_chroot)
  @docker @podman ++ ~w(mknod net_raw audit_write)

  @doc """
  Builds the filter's program and writes the profile of each engine into a folder, which it
  returns.
  """
  @spec build!() :: Path.t()
  def build! do
    folder = Scratch.path("engine")
    File.mkdir_p!(folder)
    program = Path.join(folder, "engine_filter")
    {"", 0} = System.cmd("cc", ["-O1", "-Wall", "-o", program, @source], stderr_to_stdout: true)

    rows =
      for line <- File.stream!(@profiles),
          not String.starts_with?(line, "#"),
          [call, docker, podman] = String.split(line),
          number = Syscalls.to_number(String.to_atom(call), :x86_64),
          do: {number, docker: docker, podman: podman}

    for engine <- [:docker, :podman] do
      lines = for {number, answers} <- rows, do: line(number, answers[engine], engine)
      File.write!(Path.join(folder, "#{engine}"), lines)
    end

    folder
  end

  defp line(number, "allow", _engine), do: "#{number} allow 0\n"
  defp line(number, "clone", _engine), do: "#{number} clone 1\n"
  defp line(number, "personality", :docker), do: "#{number} personality 1\n"
  defp line(number, "personality", :podman), do: "#{number} personality 38\n"
  defp line(number, "socket", _engine), do: "#{number} socket 22\n"
  defp line(number, errno, _engine), do: "#{number} refuse #{errno}\n"

  @doc """
  The command that starts a VM as `engine` starts a container's process, with what `build!/0` made
  in `folder`.
  """
  @spec command(Path.t(), :docker | :podman) :: [String.t()]
  def command(folder, engine) do
    capabilities = if engine == :docker, do: @docker, else: @podman
    bounding = "--bounding-set=-all," <> Enum.map_join(capabilities, ",", &"+#{&1}")

    [Path.join(folder, "engine_filter"), Path.join(folder, "#{engine}")] ++
      ["setpriv", "--inh-caps=-all", bounding]
  end
end
