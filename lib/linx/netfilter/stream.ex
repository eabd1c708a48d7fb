defmodule Linx.Netfilter.Stream do
  @moduledoc """
  A ruleset whose large sets never become values: `Linx.NFT.stream/1` makes one of a file of nft
  text, `Linx.Netfilter.push/3` takes it in the place of a ruleset.

  The file is read when it is pushed. Long lists of elements go to the kernel's messages a
  thousand elements at a time, so that a blocklist of a million addresses takes the memory of its
  text and of its messages.

      :ok = Linx.Netfilter.push(nfnl, Linx.NFT.stream("/etc/blocklist.nft"))

  All of it is still one transaction. Elements of a set with `auto-merge` or the flag `constant`,
  rules and everything else become values on the way, as do all elements with `mode: :reconcile`.
  If the kernel refuses an element (two overlap, or a chain or object is absent), the file is read
  again as a value, whose error names the two elements or what is absent.
  """

  alias Linx.Netfilter.{Ruleset, Set, Table}
  alias Linx.Netfilter.Map, as: NMap

  @enforce_keys [:read, :value]
  defstruct [:read, :value]

  @typedoc false
  @type more :: (-> {:ok, [term()], more()} | :done | {:error, :invalid})

  @typedoc false
  @type large :: {Table.family(), Set.t() | NMap.t(), more()}

  @typedoc """
  `:read` gives the ruleset without the elements of its large sets, and these by set; `:value` the
  ruleset as a value, or what is wrong with it where `:read` says `:invalid`.
  """
  @type t :: %__MODULE__{
          read: (-> {:ok, Ruleset.t(), [large()]} | {:error, term()}),
          value: (-> {:ok, Ruleset.t()} | {:error, term()})
        }
end
