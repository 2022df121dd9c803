//! Where a request comes from.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl FromStr for Proxies {
    type Err = String;

    /// Reads addresses and networks such as `10.0.0.0/8`, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            let text = text.trim();
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
                format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")
            })
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Proxies {
    /// The address of the client. Each proxy appends the one it was called from, so they are read
    /// from the last to the first, as long as the one before is a proxy that is believed: what stands
    /// further left may be invented.
    pub(super) fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        for address in forwarded.rev() {
            let is_proxy = self.0.iter().any(|network| network.contains(&client));
            let address = address.trim().parse::<IpAddr>();
            match address {
                Ok(address) if is_proxy => client = address.to_canonical(),
                _ => break,
            }
        }
        network_of(client)
    }
}

/// What counts as one place: an IPv4 address, and a network of 64 bits in IPv6, since that much is given
/// to anybody.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}
