defmodule Linx.Errno do
  @moduledoc false
  # The kernel's error numbers, all of asm-generic/errno-base.h and errno.h, in the kernel's
  # order. The one table: x86, arm, aarch64 and riscv share it (mips, sparc, alpha and parisc
  # number differently and are not supported). 41 and 58 are gaps in the kernel's own list.

  @table [
    {:eperm, 1},
    {:enoent, 2},
    {:esrch, 3},
    {:eintr, 4},
    {:eio, 5},
    {:enxio, 6},
    {:e2big, 7},
    {:enoexec, 8},
    {:ebadf, 9},
    {:echild, 10},
    {:eagain, 11},
    {:enomem, 12},
    {:eacces, 13},
    {:efault, 14},
    {:enotblk, 15},
    {:ebusy, 16},
    {:eexist, 17},
    {:exdev, 18},
    {:enodev, 19},
    {:enotdir, 20},
    {:eisdir, 21},
    {:einval, 22},
    {:enfile, 23},
    {:emfile, 24},
    {:enotty, 25},
    {:etxtbsy, 26},
    {:efbig, 27},
    {:enospc, 28},
    {:espipe, 29},
    {:erofs, 30},
    {:emlink, 31},
    {:epipe, 32},
    {:edom, 33},
    {:erange, 34},
    {:edeadlk, 35},
    {:enametoolong, 36},
    {:enolck, 37},
    {:enosys, 38},
    {:enotempty, 39},
    {:eloop, 40},
    {:enomsg, 42},
    {:eidrm, 43},
    {:echrng, 44},
    {:el2nsync, 45},
    {:el3hlt, 46},
    {:el3rst, 47},
    {:elnrng, 48},
    {:eunatch, 49},
    {:enocsi, 50},
    {:el2hlt, 51},
    {:ebade, 52},
    {:ebadr, 53},
    {:exfull, 54},
    {:enoano, 55},
    {:ebadrqc, 56},
    {:ebadslt, 57},
    {:ebfont, 59},
    {:enostr, 60},
    {:enodata, 61},
    {:etime, 62},
    {:enosr, 63},
    {:enonet, 64},
    {:enopkg, 65},
    {:eremote, 66},
    {:enolink, 67},
    {:eadv, 68},
    {:esrmnt, 69},
    {:ecomm, 70},
    {:eproto, 71},
    {:emultihop, 72},
    {:edotdot, 73},
    {:ebadmsg, 74},
    {:eoverflow, 75},
    {:enotuniq, 76},
    {:ebadfd, 77},
    {:eremchg, 78},
    {:elibacc, 79},
    {:elibbad, 80},
    {:elibscn, 81},
    {:elibmax, 82},
    {:elibexec, 83},
    {:eilseq, 84},
    {:erestart, 85},
    {:estrpipe, 86},
    {:eusers, 87},
    {:enotsock, 88},
    {:edestaddrreq, 89},
    {:emsgsize, 90},
    {:eprototype, 91},
    {:enoprotoopt, 92},
    {:eprotonosupport, 93},
    {:esocktnosupport, 94},
    {:eopnotsupp, 95},
    {:epfnosupport, 96},
    {:eafnosupport, 97},
    {:eaddrinuse, 98},
    {:eaddrnotavail, 99},
    {:enetdown, 100},
    {:enetunreach, 101},
    {:enetreset, 102},
    {:econnaborted, 103},
    {:econnreset, 104},
    {:enobufs, 105},
    {:eisconn, 106},
    {:enotconn, 107},
    {:eshutdown, 108},
    {:etoomanyrefs, 109},
    {:etimedout, 110},
    {:econnrefused, 111},
    {:ehostdown, 112},
    {:ehostunreach, 113},
    {:ealready, 114},
    {:einprogress, 115},
    {:estale, 116},
    {:euclean, 117},
    {:enotnam, 118},
    {:enavail, 119},
    {:eisnam, 120},
    {:eremoteio, 121},
    {:edquot, 122},
    {:enomedium, 123},
    {:emediumtype, 124},
    {:ecanceled, 125},
    {:enokey, 126},
    {:ekeyexpired, 127},
    {:ekeyrevoked, 128},
    {:ekeyrejected, 129},
    {:eownerdead, 130},
    {:enotrecoverable, 131},
    {:erfkill, 132},
    {:ehwpoison, 133}
  ]

  # EWOULDBLOCK is EAGAIN and EDEADLOCK is EDEADLK; :enotsup is POSIX's other name for EOPNOTSUPP.
  @aliases [ewouldblock: :eagain, edeadlock: :edeadlk, enotsup: :eopnotsupp]

  @type name :: atom()

  @doc "The atom of an error number, `:unknown` for a number that is not in the table."
  @spec name(integer()) :: name()
  for {name, code} <- @table do
    def name(unquote(code)), do: unquote(name)
  end

  def name(code) when is_integer(code), do: :unknown

  @doc "The number of an atom, `nil` for one that is not in the table."
  @spec code(name()) :: pos_integer() | nil
  for {name, code} <- @table do
    def code(unquote(name)), do: unquote(code)
  end

  for {alias, name} <- @aliases do
    def code(unquote(alias)), do: code(unquote(name))
  end

  def code(name) when is_atom(name), do: nil

  @doc """
  The one name of an errno that has two: `:file` and `:socket` say `:enotsup`, the kernel's tables
  `:eopnotsupp`.
  """
  @spec canonical(name()) :: name()
  for {alias, name} <- @aliases do
    def canonical(unquote(alias)), do: unquote(name)
  end

  def canonical(name) when is_atom(name), do: name

  @doc false
  # A number that has no name stays what it is.
  @spec name_or_code(pos_integer()) :: name() | pos_integer()
  def name_or_code(code) do
    case name(code) do
      :unknown -> code
      name -> name
    end
  end

  @doc false
  # The `:errno` and `:code` of an error struct, from either.
  @spec pair(name() | pos_integer()) :: {name(), pos_integer() | nil}
  def pair(name) when is_atom(name), do: {canonical(name), code(name)}
  def pair(code) when is_integer(code), do: {name(code), code}

  @doc false
  # How the two read in a message: "ebusy (errno 16)".
  @spec text(name(), pos_integer() | nil) :: String.t()
  def text(name, nil), do: Atom.to_string(name)
  def text(name, code), do: "#{name} (errno #{code})"

  @doc "Every `{name, code}`, in the kernel's order."
  @spec all() :: [{name(), pos_integer()}]
  def all, do: @table
end
