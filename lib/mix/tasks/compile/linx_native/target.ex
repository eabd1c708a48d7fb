defmodule Mix.Tasks.Compile.LinxNative.Target do
  @moduledoc false
  # The machine that the native parts are for, as a Rust target triple, without asking cargo.
  #
  # The host is what the running VM's own executable says: its ELF header names processor and
  # float ABI, its program interpreter names the C library. The VM's configured triple says
  # neither for certain: a 32-bit VM runs on a 64-bit kernel, and distributions relocate the VM to
  # another C library. A VM that was started by way of its dynamic linker, as ld.so(8) tells, has
  # that for its executable.

  @enforce_keys [:triple, :cross?]
  defstruct [:triple, :cross?]

  @type t :: %__MODULE__{triple: String.t(), cross?: boolean()}

  # elf(5): EI_CLASS, e_machine and, of arm, the float ABI in e_flags (EF_ARM_ABI_FLOAT_HARD).
  @class32 1
  @class64 2
  @em_arm 40
  @em_x86_64 62
  @em_aarch64 183
  @em_riscv 243
  @float_hard 0x400

  # EI_CLASS and e_machine of the targets of the package's archives, by the triple's first part.
  @processors %{
    "x86_64" => {@class64, @em_x86_64},
    "aarch64" => {@class64, @em_aarch64},
    "armv7" => {@class32, @em_arm},
    "riscv64gc" => {@class64, @em_riscv}
  }

  # The sizes of Elf64_Ehdr and Elf32_Ehdr, and of the entries of the program header table.
  @ehdr %{@class64 => 64, @class32 => 52}
  @phdr %{@class64 => 56, @class32 => 32}
  @pt_interp 3

  # An executable has about a dozen program headers; PATH_MAX.
  @max_headers 1024
  @max_path 4096

  @unknown "unknown"

  # The bytes of an executable from an offset on, as many as there are of the length asked for.
  @typep read :: (non_neg_integer(), non_neg_integer() -> binary())

  @doc """
  The target that the environment names, or the host, whose VM is the executable `vm`.

  A host that is not known here has no archive. Its triple is `"unknown"`, and cargo builds for
  its own host.
  """
  @spec current(Path.t()) :: {:ok, t()} | {:error, String.t()}
  def current(vm \\ "/proc/self/exe") do
    cond do
      triple = present("CARGO_BUILD_TARGET") ->
        {:ok, %__MODULE__{triple: triple, cross?: true}}

      present("TARGET_ARCH") && present("TARGET_OS") ->
        nerves(
          System.get_env("TARGET_ARCH"),
          System.get_env("TARGET_OS"),
          present("TARGET_ABI") || "gnu"
        )

      true ->
        {:ok, %__MODULE__{triple: running(vm), cross?: false}}
    end
  end

  @doc "An environment variable; an empty one counts as unset."
  @spec present(String.t()) :: String.t() | nil
  def present(name) do
    case System.get_env(name) do
      empty when empty in [nil, ""] -> nil
      value -> value
    end
  end

  @doc "Whether the ELF header of a library or program names the processor of the triple."
  @spec runs?(binary(), String.t()) :: boolean()
  def runs?(elf, triple) do
    [processor | _] = String.split(triple, "-")

    case {elf, @processors} do
      {<<0x7F, "ELF", class, _::binary-13, em::little-16, _::binary>>, %{^processor => wanted}} ->
        {class, em} == wanted

      {_no_elf, processors} ->
        not is_map_key(processors, processor)
    end
  end

  defp nerves(arch, os, abi) do
    case rust_arch(arch, System.get_env("TARGET_CPU", "")) do
      nil ->
        {:error,
         "TARGET_ARCH=#{arch} has no Rust target known here; set CARGO_BUILD_TARGET to its " <>
           "triple."}

      arch ->
        {:ok, %__MODULE__{triple: "#{arch}-unknown-#{os}-#{abi}", cross?: true}}
    end
  end

  # ARM's architecture level is not in TARGET_ARCH; the CPU tells ARMv6 (Raspberry Pi Zero) from
  # ARMv7.
  defp rust_arch("arm", "arm1176" <> _), do: "arm"
  defp rust_arch("arm", "arm926" <> _), do: "armv5te"
  defp rust_arch("arm", _cpu), do: "armv7"
  defp rust_arch("riscv64", _cpu), do: "riscv64gc"
  defp rust_arch(arch, _cpu) when arch in ["aarch64", "x86_64", "i686"], do: arch
  defp rust_arch(_arch, _cpu), do: nil

  defp running(path) do
    case :file.open(path, [:read, :raw, :binary]) do
      {:ok, file} ->
        read = fn at, length ->
          case :file.pread(file, at, length) do
            {:ok, bytes} -> bytes
            _end_or_error -> ""
          end
        end

        try do
          case host(read, machine(), name(path)) do
            {:ok, triple} -> triple
            :error -> @unknown
          end
        after
          :file.close(file)
        end

      {:error, _reason} ->
        @unknown
    end
  end

  # procfs answers with the path of what was started.
  defp name(path) do
    case File.read_link(path) do
      {:ok, target} -> Path.basename(target)
      {:error, _no_link} -> Path.basename(path)
    end
  end

  @doc """
  The triple of a VM whose executable is read by `read`, on a machine that uname(1) calls
  `machine`; `:error` for a processor or C library that is not known here.

  `machine` tells ARMv6 from ARMv7, which the executable does not. `name` is the executable's,
  which counts where it names no interpreter: a dynamic linker is of its C library.
  """
  @spec host(read(), String.t(), String.t()) :: {:ok, String.t()} | :error
  def host(read, machine, name) do
    head = read.(0, @ehdr[@class64])

    with {:ok, processor, float} <- processor(head, machine),
         {:ok, libc} <- libc(interpreter(head, read) || linker(name)) do
      {:ok, "#{processor}-unknown-linux-#{libc}#{float}"}
    end
  end

  defp processor(<<0x7F, "ELF", @class64, _::binary-13, em::little-16, _::binary>>, _machine)
       when em in [@em_x86_64, @em_aarch64, @em_riscv] do
    name = %{@em_x86_64 => "x86_64", @em_aarch64 => "aarch64", @em_riscv => "riscv64gc"}
    {:ok, name[em], ""}
  end

  defp processor(
         <<0x7F, "ELF", @class32, _::binary-13, @em_arm::little-16, _::binary-16,
           flags::little-32, _::binary>>,
         machine
       ) do
    hard? = Bitwise.band(flags, @float_hard) != 0

    case machine do
      "armv5" <> _ -> {:ok, "armv5te", "eabi"}
      "armv6" <> _ -> {:ok, "arm", if(hard?, do: "eabihf", else: "eabi")}
      _seven_or_newer -> {:ok, "armv7", if(hard?, do: "eabihf", else: "eabi")}
    end
  end

  defp processor(_head, _machine), do: :error

  defp linker("ld-" <> _ = name), do: name
  defp linker(_program), do: nil

  # A VM without an interpreter is linked statically, which only musl does in one piece.
  defp libc(nil), do: {:ok, "musl"}

  defp libc(path) do
    case Path.basename(path) do
      "ld-musl-" <> _ -> {:ok, "musl"}
      "ld-linux" <> _ -> {:ok, "gnu"}
      _other -> :error
    end
  end

  # Elf64_Ehdr and Elf32_Ehdr: e_phoff, e_phentsize, e_phnum.
  defp interpreter(
         <<_::binary-4, @class64, _::binary-27, offset::little-64, _::binary-14, size::little-16,
           count::little-16, _::binary>>,
         read
       ),
       do: interpreter(read, @class64, offset, size, count)

  defp interpreter(
         <<_::binary-4, @class32, _::binary-23, offset::little-32, _::binary-10, size::little-16,
           count::little-16, _::binary>>,
         read
       ),
       do: interpreter(read, @class32, offset, size, count)

  defp interpreter(_head, _read), do: nil

  defp interpreter(read, class, offset, size, count) do
    headers = 0..(min(count, @max_headers) - 1)//1

    Enum.find_value(headers, fn index ->
      with {at, length} <- segment(read.(offset + index * size, @phdr[class]), class),
           <<_, _::binary>> = path <- read.(at, min(length, @max_path)) do
        path |> :binary.split(<<0>>) |> hd()
      else
        _other_segment -> nil
      end
    end)
  end

  # Elf64_Phdr and Elf32_Phdr: p_offset and p_filesz.
  defp segment(
         <<@pt_interp::little-32, _::32, at::little-64, _::binary-16, length::little-64,
           _::binary>>,
         @class64
       ),
       do: {at, length}

  defp segment(
         <<@pt_interp::little-32, at::little-32, _::binary-8, length::little-32, _::binary>>,
         @class32
       ),
       do: {at, length}

  defp segment(_other, _class), do: nil

  defp machine do
    case System.cmd("uname", ["-m"], stderr_to_stdout: true) do
      {name, 0} -> String.trim(name)
      _failed -> ""
    end
  rescue
    # A system without uname(1).
    ErlangError -> ""
  end
end
