//! The rtnetlink crate, used as its examples do.
//!
//!     rtnetlink dump-routes CASE N | dump-links CASE N | add CASE IFINDEX COUNT

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use netlink_peers::Clock;
use rtnetlink::packet_route::route::{RouteProtocol, RouteScope};
use rtnetlink::{Handle, RouteMessageBuilder, new_connection};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (what, case) = (args[1].as_str(), args[2].as_str());
    let (connection, handle, _) = new_connection().unwrap();
    tokio::spawn(connection);
    let number = |at: usize| args[at].parse::<u32>().unwrap();
    match what {
        "dump-routes" => {
            for _ in 0..number(3) {
                let clock = Clock::start();
                let routes = RouteMessageBuilder::<Ipv4Addr>::new().build();
                let dump = handle.route().get(routes).execute();
                let found: Vec<_> = dump.try_collect().await.unwrap();
                clock.report(case, "rtnetlink (Rust)", found.len());
            }
        }
        "dump-links" => {
            for _ in 0..number(3) {
                let clock = Clock::start();
                let found: Vec<_> = handle.link().get().execute().try_collect().await.unwrap();
                clock.report(case, "rtnetlink (Rust)", found.len());
            }
        }
        "add" => {
            let (ifindex, count) = (number(3), number(4));
            for _ in 0..3 {
                let clock = Clock::start();
                for n in 0..count {
                    handle.route().add(message(n, ifindex)).execute().await.unwrap();
                }
                clock.report(case, "rtnetlink (Rust)", count as usize);
                remove(&handle, ifindex, count).await;
            }
        }
        _ => panic!("{what}?"),
    }
}

fn message(n: u32, ifindex: u32) -> rtnetlink::packet_route::route::RouteMessage {
    let destination = Ipv4Addr::new(21 + (n >> 16) as u8, (n >> 8) as u8, n as u8, 0);
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(destination, 24)
        .output_interface(ifindex)
        .table_id(201)
        .protocol(RouteProtocol::Static)
        .scope(RouteScope::Link)
        .build()
}

async fn remove(handle: &Handle, ifindex: u32, count: u32) {
    for n in 0..count {
        handle.route().del(message(n, ifindex)).execute().await.unwrap();
    }
}
