//! rtnetlink's messages, as tables in the attribute order of the Elixir side.
//!
//! Numbers from linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h,
//! linux/fib_rules.h and linux/nexthop.h at 6.18.

use super::schema::Schema;
use super::schema::Shape::{Bytes, Ip, S32, Text, U8, U16, U32};

/// The table of an RTM_* message type; None for a type that Linx does not read.
pub fn schema(message: u16) -> Option<&'static Schema> {
    Some(match message {
        16..=19 => &LINK,
        20..=22 => &ADDRESS,
        24..=26 => &ROUTE,
        28..=30 => &NEIGHBOUR,
        32..=34 => &RULE,
        92 | 94 => &STATS,
        104..=106 => &NEXTHOP,
        _ => return None,
    })
}

/// Whether a message of a dump is one of its objects. A dump of the routes of all families ends
/// with the multicast cache (RTNL_FAMILY_IPMR, RTNL_FAMILY_IP6MR) and MPLS routes (AF_MPLS).
pub fn is_listed(message: u16, payload: &[u8]) -> bool {
    message != RTM_NEWROUTE || matches!(payload.first(), Some(&(AF_INET | AF_INET6)))
}

const RTM_NEWROUTE: u16 = 24;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `struct ifinfomsg` and IFLA_*.
pub static LINK: Schema = Schema::new(
    16,
    &[
        (1, Bytes),  // ADDRESS
        (3, Text),   // IFNAME
        (4, U32),    // MTU
        (5, U32),    // LINK
        (10, U32),   // MASTER
        (18, Bytes), // LINKINFO
        (19, U32),   // NET_NS_PID
        (2, Bytes),  // BROADCAST
        (6, Text),   // QDISC
        (13, U32),   // TXQLEN
        (16, U8),    // OPERSTATE
        (20, Text),  // IFALIAS
        (27, U32),   // GROUP
        (33, U8),    // CARRIER
        (37, S32),   // LINK_NETNSID
        (52, Bytes), // PROP_LIST
        (50, U32),   // MIN_MTU
        (51, U32),   // MAX_MTU
    ],
    // Statistics, per-family configuration and offload limits: most of a link's bytes, and no field
    // of Linx.
    &[
        7, 8, 9, 11, 12, 14, 15, 17, 21, 22, 23, 24, 25, 26, 30, 31, 32, 34, 35, 36, 38, 39, 40,
        41, 42, 43, 44, 45, 46, 47, 48, 49, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67, 68,
        69,
    ],
);

/// `struct ifaddrmsg` and IFA_*.
pub static ADDRESS: Schema = Schema::new(
    8,
    &[
        (1, Ip),   // ADDRESS
        (2, Ip),   // LOCAL
        (3, Text), // LABEL
        (4, Ip),   // BROADCAST
        (8, U32),  // FLAGS
        (9, U32),  // RT_PRIORITY
        (11, U8),  // PROTO
    ],
    &[],
);

/// `struct rtmsg` and RTA_*. Attributes of few routes (metrics, several next hops, encapsulation)
/// stay in the rest.
pub static ROUTE: Schema = Schema::new(
    12,
    &[
        (1, Ip),   // DST
        (5, Ip),   // GATEWAY
        (4, U32),  // OIF
        (6, U32),  // PRIORITY
        (15, U32), // TABLE
        (7, Ip),   // PREFSRC
        (20, U8),  // PREF
    ],
    &[],
)
// CACHEINFO, which every IPv6 route has: `struct rta_cacheinfo` with its time left at 8.
.unless_zero(12, 8);

/// `struct ndmsg` and NDA_*.
pub static NEIGHBOUR: Schema = Schema::new(
    12,
    &[
        (1, Ip),    // DST
        (2, Bytes), // LLADDR
        (12, U8),   // PROTOCOL
        (9, U32),   // MASTER
        (5, U16),   // VLAN
    ],
    &[3, 4], // CACHEINFO, PROBES
);

/// `struct fib_rule_hdr` and FRA_*.
pub static RULE: Schema = Schema::new(
    12,
    &[
        (1, Ip),   // DST
        (2, Ip),   // SRC
        (6, U32),  // PRIORITY
        (10, U32), // FWMARK
        (15, U32), // TABLE
    ],
    &[],
);

/// `struct if_stats_msg` and IFLA_STATS_*.
pub static STATS: Schema = Schema::new(
    12,
    &[(1, Bytes)], // LINK_64
    &[],
);

/// `struct nhmsg` and NHA_*. The attributes of a nexthop besides its id depend on its kind and stay
/// in the rest.
pub static NEXTHOP: Schema = Schema::new(
    8,
    &[(1, U32)], // ID
    &[],
);
