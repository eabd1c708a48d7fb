defmodule Linx.Netlink.Constants do
  @moduledoc """
  The numbers of linux/netlink.h: message flags, the four control messages, and the protocol
  families that Linx speaks.

  Each is a macro that becomes the number, so it may stand in guards and patterns:

      import Linx.Netlink.Constants

      def last?(%Linx.Netlink.Message{type: type}) when type in [nlmsg_done(), nlmsg_error()],
        do: true

  Some flags share a bit: what `NLM_F_ROOT` is in a GET is `NLM_F_REPLACE` in a NEW. The message
  type decides.

  Source: include/uapi/linux/netlink.h.
  """

  @constants [
    # Any message.
    {:nlm_f_request, 0x001, "asks the kernel for something, as against telling us"},
    {:nlm_f_multi, 0x002, "one of several messages that NLMSG_DONE ends"},
    {:nlm_f_ack, 0x004, "answer with NLMSG_ERROR also on success"},
    {:nlm_f_echo, 0x008, "send the notification of the change to us too"},
    {:nlm_f_dump_intr, 0x010, "the objects changed while they were being dumped"},
    # GET.
    {:nlm_f_root, 0x100, "the whole table"},
    {:nlm_f_match, 0x200, "every entry that matches"},
    {:nlm_f_dump, 0x300, "`NLM_F_ROOT` and `NLM_F_MATCH`: a dump"},
    {:nlm_f_atomic, 0x400, "a snapshot; the kernel ignores it"},
    # NEW.
    {:nlm_f_replace, 0x100, "take the place of an entry that is there"},
    {:nlm_f_excl, 0x200, "fail with EEXIST when it is there"},
    {:nlm_f_create, 0x400, "make it when it is not there"},
    {:nlm_f_append, 0x800, "add at the end of the list"},
    # DELETE.
    {:nlm_f_bulk, 0x200, "delete every entry that matches"},
    # Control messages.
    {:nlmsg_noop, 1, "means nothing"},
    {:nlmsg_error, 2, "an error, or with errno 0 an acknowledgement"},
    {:nlmsg_done, 3, "the end of a dump, with its errno"},
    {:nlmsg_overrun, 4, "data was lost"},
    {:nlmsg_min_type, 0x10, "the first type that a protocol family may use"},
    # Protocol families.
    {:netlink_route, 0, "links, addresses, routes, neighbours and rules"},
    {:netlink_netfilter, 12, "nf_tables, conntrack and NFLOG"}
  ]

  for {name, value, meaning} <- @constants do
    @doc """
    `#{name |> Atom.to_string() |> String.upcase()}` (0x#{Integer.to_string(value, 16)}):
    #{meaning}.
    """
    defmacro unquote(name)(), do: unquote(value)
  end
end
