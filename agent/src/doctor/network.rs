//! On the way to the controller and to the clusters' APIs: names, and proxies.

use std::time::Duration;

use super::Check;
use crate::config::Address;

const NAME: &str = "name";
const PROXY: &str = "proxy";
const KUBERNETES: &str = "kubernetes";
/// A resolver that takes longer makes every reconnect slow.
const WITHIN: Duration = Duration::from_secs(5);

/// Looks the controller's name up, as a connection would.
pub async fn name(address: &Address) -> Check {
    let host = address.host();
    let looked = tokio::time::timeout(WITHIN, tokio::net::lookup_host((host, address.port()))).await;
    let found = looked.map(|found| found.map(|places| places.map(|place| place.ip().to_string()).collect()));
    resolved(host, found.map_err(|_| ()))
}

fn resolved(host: &str, found: Result<std::io::Result<Vec<String>>, ()>) -> Check {
    let remedy = format!("see `getent hosts {host}` and /etc/resolv.conf; for a trial, a line in /etc/hosts");
    match found {
        Ok(Ok(places)) if places.is_empty() => Check::fail(NAME, format!("{host} has no address"), remedy),
        Ok(Ok(places)) => Check::ok(NAME, format!("{host} is {}", places.join(", "))),
        Ok(Err(error)) => Check::fail(NAME, format!("{host} cannot be looked up: {error}"), remedy),
        Err(()) => Check::fail(NAME, format!("no answer where {host} is, within {} s", WITHIN.as_secs()), remedy),
    }
}

/// Tells of proxies, which the agent does not use: its link is mutual TLS from end to end.
pub fn proxy(variables: impl Iterator<Item = (String, String)>) -> Option<Check> {
    let named = |key: &str| ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].contains(&key.to_ascii_uppercase().as_str());
    let set: Vec<String> =
        variables.filter(|(key, value)| named(key) && !value.is_empty()).map(|(key, _)| key).collect();
    (!set.is_empty()).then(|| {
        Check::warn(
            PROXY,
            format!("{} is set, but the agent connects directly, and so does rke", set.join(", ")),
            "let this host reach the controller's port for agents without a proxy; clusters' APIs are reached through `[kubernetes] proxy` when that is set, and hosts of clusters have settings of their own",
        )
    })
}

/// Whether the proxy answers through which clusters' APIs are reached; nothing when there is none.
pub async fn kubernetes(proxy: Option<&str>) -> Option<Check> {
    let proxy = proxy?;
    let remedy = "see `[kubernetes] proxy`, and that the proxy runs and lets this host CONNECT to port 6443 of the control planes";
    let connect = tokio::net::TcpStream::connect(proxy.trim_start_matches("http://"));
    Some(match tokio::time::timeout(WITHIN, connect).await {
        Ok(Ok(_)) => {
            Check::ok(KUBERNETES, format!("{proxy} answers; whether it reaches a cluster, a check of it tells"))
        }
        Ok(Err(error)) => Check::fail(KUBERNETES, format!("clusters cannot be configured: {proxy}: {error}"), remedy),
        Err(_) => {
            let finding =
                format!("clusters cannot be configured: {proxy} does not answer within {} s", WITHIN.as_secs());
            Check::fail(KUBERNETES, finding, remedy)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[tokio::test]
    async fn the_proxy_to_the_clusters_answers_or_is_told() {
        assert!(kubernetes(None).await.is_none(), "they are reached directly");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        assert_eq!(kubernetes(Some(&proxy)).await.unwrap().level, Level::Ok);
        drop(listener);
        let away = kubernetes(Some(&proxy)).await.unwrap();
        assert!(away.level == Level::Fail && away.remedy.contains("[kubernetes] proxy"), "{away:?}");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_what_came_of_it_is_told() {
        let known = name(&"127.0.0.1:1".parse().unwrap()).await;
        assert!(known.level == Level::Ok && known.finding.contains("127.0.0.1"), "{known:?}");
        let refused = || std::io::Error::other("Name or service not known");
        for found in [Ok(Ok(Vec::new())), Ok(Err(refused())), Err(())] {
            let check = resolved("controller.internal", found);
            assert!(
                check.level == Level::Fail && check.remedy.contains("getent hosts controller.internal"),
                "{check:?}"
            );
        }
    }

    #[test]
    fn a_proxy_that_is_not_used_is_told() {
        let of = |key: &str, value: &str| proxy([(key.to_owned(), value.to_owned())].into_iter());
        assert!(of("https_proxy", "http://proxy:3128").unwrap().finding.contains("https_proxy"));
        assert!(of("HTTPS_PROXY", "").is_none() && of("NO_PROXY", "x").is_none());
    }
}
