//! Where a request comes from.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Once;

use ipnet::{IpNet, Ipv4Net};

/// The proxies whose `X-Forwarded-For` and `Forwarded` are believed.
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
                format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")
            })
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// A network of IPv4-mapped addresses, such as `::ffff:10.0.0.0/104`, as the IPv4 network it means: the
/// addresses it is compared with are canonical too.
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
    /// The IP address of the client. Each proxy appends the node it was called from, so nodes are read from
    /// the last to the first, as long as the one before is a trusted proxy: what is further left may be
    /// invented.
    pub(super) fn client(&self, peer: IpAddr, nodes: &[String]) -> IpAddr {
        let mut client = peer.to_canonical();
        if !nodes.is_empty() && !self.trusts(client) {
            hint(client);
        }
        for node in nodes.iter().rev() {
            match ip(node) {
                Some(ip) if self.trusts(client) => client = ip.to_canonical(),
                _ => break,
            }
        }
        network_of(client)
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&ip))
    }
}

/// Tells the operator of a proxy that is perhaps not configured. Once: clients send such headers too, and
/// must not fill the log with them.
fn hint(peer: IpAddr) {
    static HINTED: Once = Once::new();
    HINTED.call_once(|| {
        tracing::warn!(
            %peer,
            "ignoring X-Forwarded-For or Forwarded of a peer that is not a trusted proxy, so its clients share \
             the sign-in limits of one address; if it is your proxy, add it to --trusted-proxies"
        );
    });
}

/// The IP address of a node: alone, or with a port, as `192.0.2.1:80` and `[2001:db8::1]:80` (RFC 7239,
/// section 6; Azure and IIS write these in `X-Forwarded-For` too). `unknown` and obfuscated names have none.
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

/// What counts as one place: an IPv4 address, and a network of 64 bits in IPv6, since that much is given
/// to anybody.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}
