//! The IP address of the client of a request.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Once;

use ipnet::{IpNet, Ipv4Net};

/// The proxies whose `X-Forwarded-For` and `Forwarded` are trusted.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl FromStr for Proxies {
    type Err = String;

    /// Parses IP addresses and networks such as `10.0.0.0/8`, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            let text = text.trim();
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map(canonical).map_err(|_| {
                format!("expected an IP address or a network such as 10.0.0.0/8, found {text:?}")
            })
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// Converts a network of IPv4-mapped IP addresses, such as `::ffff:10.0.0.0/104`, to the IPv4 network. The IP
/// addresses that it is compared with are canonical too.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(network) => {
            let prefix = network.prefix_len().checked_sub(96);
            network.addr().to_ipv4_mapped().zip(prefix)
        }
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(ip, prefix)| Ipv4Net::new(ip, prefix).ok()).map_or(network, IpNet::V4)
}

impl Proxies {
    /// Returns the IP address of the client. Each proxy appends the node that called it, so nodes are read from
    /// last to first while they are trusted proxies. Nodes further left may be forged.
    ///
    /// Without a peer, the connection came over a Unix socket, from a proxy that the permissions of its file have admitted.
    pub(super) fn client(&self, peer: Option<IpAddr>, nodes: &[String]) -> IpAddr {
        let (mut client, mut is_trusted) = match peer.map(|peer| peer.to_canonical()) {
            Some(peer) => (peer, self.trusts(peer)),
            None => (LOCAL, true),
        };
        if !nodes.is_empty() && !is_trusted {
            hint(client);
        }
        for node in nodes.iter().rev() {
            match ip(node) {
                Some(ip) if is_trusted => client = ip.to_canonical(),
                _ => break,
            }
            is_trusted = self.trusts(client);
        }
        client
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

/// The client of a connection over a Unix socket, if its proxy does not name another.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Logs that a proxy may be missing from the configuration. Logs it once, because clients can send such headers
/// too and must not be able to fill the log.
fn hint(peer: IpAddr) {
    static HINTED: Once = Once::new();
    HINTED.call_once(|| {
        tracing::warn!(
            %peer,
            "ignoring X-Forwarded-For or Forwarded of a peer that is not a trusted proxy; its clients share the \
             sign-in limits of one IP address; if it is your proxy, add it to --trusted-proxies"
        );
    });
}

/// Parses the IP address of a node, with or without a port: `192.0.2.1:80`, `[2001:db8::1]:80` (RFC 7239,
/// section 6; Azure and IIS write ports in `X-Forwarded-For` too). Returns `None` for `unknown` and obfuscated
/// names.
fn ip(node: &str) -> Option<IpAddr> {
    let node = node.trim();
    if let Some(bracketed) = node.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        let is_node = port.is_empty() || port.starts_with(':');
        return ip.parse().ok().filter(|_| is_node).map(IpAddr::V6);
    }
    let with_port = || node.split_once(':')?.0.parse().ok().map(IpAddr::V4);
    node.parse().ok().or_else(with_port)
}

/// Returns what is counted as one client: an IPv4 address, or a /64 network in IPv6, because a single customer
/// usually gets that many.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
    }
}
