//! Key material as rke makes it, with real keys: a CA that really signs the leaves.
//!
//! ECDSA P-256 instead of rke's RSA 2048, for speed; names, subjects, paths and environment names
//! are those of rke. Like rke, the service account token has the API server's own certificate,
//! and everything lives for ten years. Writing files is not here.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, parse_x509_pem};

use super::clock;
use super::journal::sha256;
use super::spec::{Node, Role, Spec};

const CA: &str = "kube-ca";
const REQUEST_HEADER_CA: &str = "kube-apiserver-requestheader-ca";
const API_SERVER: &str = "kube-apiserver";
const ADMIN: &str = "kube-admin";

/// One entry of `certificatesBundle`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    #[serde(rename = "certificatePEM")]
    pub(crate) certificate: String,
    #[serde(rename = "keyPEM")]
    pub(crate) key: String,
    pub(crate) config: String,
    pub(crate) name: String,
    pub(crate) common_name: String,
    pub(crate) ou_name: String,
    pub(crate) env_name: String,
    pub(crate) path: String,
    pub(crate) key_env_name: String,
    pub(crate) key_path: String,
    pub(crate) config_env_name: String,
    pub(crate) config_path: String,
}

/// All key material of a cluster.
pub(crate) type Bundle = BTreeMap<String, Entry>;

/// A failure to make or to use key material.
pub(crate) type PkiError = rcgen::Error;

/// The leaves below `kube-ca` that are alike: name, common name, organisation.
const CLIENTS: [(&str, &str, &str); 4] = [
    ("kube-controller-manager", "system:kube-controller-manager", ""),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", ""),
    ("kube-node", "system:node", "system:nodes"),
];

/// Both CAs, new.
pub(crate) fn mint_authorities() -> Result<Bundle, PkiError> {
    let mut bundle = Bundle::new();
    for name in [CA, REQUEST_HEADER_CA] {
        let mut params = subject(&format!("system:{name}"), "", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let authority = CertifiedIssuer::self_signed(params, key)?;
        let mut entry = entry(name, &format!("system:{name}"), "");
        entry.certificate = authority.pem();
        entry.key = key_pem;
        if name == REQUEST_HEADER_CA {
            add_local_config(&mut entry);
        }
        bundle.insert(name.to_owned(), entry);
    }
    Ok(bundle)
}

/// Everything below the CAs that are in the bundle, anew.
pub(crate) fn mint_leaves(bundle: &mut Bundle, spec: &Spec, kubeconfig: &str) -> Result<(), PkiError> {
    renew_api_server(bundle, spec)?;
    let token = Entry {
        certificate: bundle[API_SERVER].certificate.clone(),
        key: bundle[API_SERVER].key.clone(),
        ..entry("kube-service-account-token", "kube-service-account-token", "")
    };
    bundle.insert(token.name.clone(), token);
    for (name, common_name, organisation) in CLIENTS {
        let mut leaf = leaf(bundle, CA, name, common_name, organisation, Vec::new())?;
        add_local_config(&mut leaf);
        bundle.insert(name.to_owned(), leaf);
    }
    let name = "kube-apiserver-proxy-client";
    let common_name = format!("system:{name}");
    let mut proxy = leaf(bundle, REQUEST_HEADER_CA, name, &common_name, "", Vec::new())?;
    add_local_config(&mut proxy);
    bundle.insert(name.to_owned(), proxy);
    renew_admin(bundle, spec, kubeconfig)?;
    for node in spec.with(Role::Etcd) {
        mint_etcd(bundle, spec, node)?;
    }
    Ok(())
}

/// The API server's certificate, for the present control plane hosts.
pub(crate) fn renew_api_server(bundle: &mut Bundle, spec: &Spec) -> Result<(), PkiError> {
    let names = alternative_names(spec.with(Role::ControlPlane));
    let leaf = leaf(bundle, CA, API_SERVER, "system:kube-apiserver", "", names)?;
    bundle.insert(API_SERVER.to_owned(), leaf);
    Ok(())
}

/// The admin's certificate and kubeconfig: rke makes them anew in every run.
pub(crate) fn renew_admin(bundle: &mut Bundle, spec: &Spec, kubeconfig: &str) -> Result<(), PkiError> {
    let mut admin = leaf(bundle, CA, ADMIN, ADMIN, "system:masters", Vec::new())?;
    let server = spec.with(Role::ControlPlane).next().map_or_else(String::new, |node| node.address.clone());
    admin.config = admin_config(&spec.name, &server, &bundle[CA].certificate, &admin);
    admin.config_env_name = "KUBECFG_KUBE_ADMIN".to_owned();
    kubeconfig.clone_into(&mut admin.config_path);
    bundle.insert(ADMIN.to_owned(), admin);
    Ok(())
}

/// The certificate of one etcd host.
pub(crate) fn mint_etcd(bundle: &mut Bundle, spec: &Spec, node: &Node) -> Result<(), PkiError> {
    let name = etcd_name(node);
    let names = alternative_names(spec.with(Role::Etcd));
    let leaf = leaf(bundle, CA, &name, &format!("system:{name}"), "", names)?;
    bundle.insert(name, leaf);
    Ok(())
}

/// `kube-etcd-172-30-0-11`.
pub(crate) fn etcd_name(node: &Node) -> String {
    format!("kube-etcd-{}", node.internal.replace(['.', ':'], "-"))
}

/// SHA-256 of the CA certificate (DER), if there is a usable CA.
pub(crate) fn ca_fingerprint(bundle: &Bundle) -> Option<String> {
    let ca = bundle.get(CA).filter(|ca| !ca.key.is_empty())?;
    fingerprint(&ca.certificate)
}

/// SHA-256 of a certificate (DER), given as PEM.
pub(crate) fn fingerprint(pem: &str) -> Option<String> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    Some(sha256(&pem.contents))
}

/// The CA certificate in a kubeconfig, as PEM.
pub(crate) fn ca_of_kubeconfig(kubeconfig: &str) -> Option<String> {
    let (_, rest) = kubeconfig.split_once("certificate-authority-data: \"")?;
    let (data, _) = rest.split_once('"')?;
    String::from_utf8(BASE64.decode(data.as_bytes()).ok()?).ok()
}

/// Whether the API server's certificate speaks for this host.
pub(crate) fn api_server_covers(bundle: &Bundle, address: &str) -> bool {
    let Some(Ok((_, pem))) = bundle.get(API_SERVER).map(|entry| parse_x509_pem(entry.certificate.as_bytes())) else {
        return false;
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&pem.contents) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DNSName(dns) => *dns == address,
        GeneralName::IPAddress(bytes) => match address.parse() {
            Ok(std::net::IpAddr::V4(v4)) => v4.octets() == **bytes,
            Ok(std::net::IpAddr::V6(v6)) => v6.octets() == **bytes,
            Err(_) => false,
        },
        _ => false,
    })
}

fn leaf(
    bundle: &Bundle,
    authority: &str,
    name: &str,
    common_name: &str,
    organisation: &str,
    names: Vec<String>,
) -> Result<Entry, PkiError> {
    let authority = &bundle[authority];
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let mut params = subject(common_name, organisation, names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let mut entry = entry(name, common_name, organisation);
    entry.certificate = params.signed_by(&key, &issuer)?.pem();
    entry.key = key.serialize_pem();
    Ok(entry)
}

fn subject(common_name: &str, organisation: &str, names: Vec<String>) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into()?),
        });
    }
    let days = u64::try_from(clock::now_ns() / 86_400_000_000_000).unwrap_or(0);
    let (from, until) = (clock::civil(days - 1), clock::civil(days + 3650));
    let date = |(y, m, d): (u64, u64, u64)| date_time_ymd(y as i32, m as u8, d as u8);
    params.not_before = date(from);
    params.not_after = date(until);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if !organisation.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organisation);
    }
    Ok(params)
}

fn alternative_names<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "127.0.0.1",
        "10.43.0.1",
    ]
    .map(str::to_owned)
    .to_vec();
    for node in nodes {
        names.extend([&node.address, &node.internal, &node.name].map(Clone::clone));
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn entry(name: &str, common_name: &str, organisation: &str) -> Entry {
    let env = name.replace('-', "_").to_uppercase();
    Entry {
        name: name.to_owned(),
        common_name: common_name.to_owned(),
        ou_name: organisation.to_owned(),
        path: format!("/etc/kubernetes/ssl/{name}.pem"),
        key_path: format!("/etc/kubernetes/ssl/{name}-key.pem"),
        key_env_name: format!("{env}_KEY"),
        env_name: env,
        ..Entry::default()
    }
}

fn add_local_config(entry: &mut Entry) {
    entry.config = local_config(&entry.name, &entry.path, &entry.key_path);
    entry.config_env_name = format!("KUBECFG_{}", entry.env_name);
    entry.config_path = format!("/etc/kubernetes/ssl/kubecfg-{}.yaml", entry.name);
}

/// The configuration that a component on a host uses: it names files.
fn local_config(name: &str, certificate: &str, key: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    api-version: v1\n    \
         certificate-authority: /etc/kubernetes/ssl/kube-ca.pem\n    \
         server: \"https://127.0.0.1:6443\"\n  name: \"local\"\ncontexts:\n- context:\n    \
         cluster: \"local\"\n    user: \"{name}-local\"\n  name: \"local\"\n\
         current-context: \"local\"\nusers:\n- name: \"{name}-local\"\n  user:\n    \
         client-certificate: {certificate}\n    client-key: {key}"
    )
}

/// The administrator's kubeconfig: it carries everything in itself.
fn admin_config(cluster: &str, server: &str, ca: &str, admin: &Entry) -> String {
    let [ca, certificate, key] = [ca, &admin.certificate, &admin.key].map(|pem| BASE64.encode(pem.as_bytes()));
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    api-version: v1\n    \
         certificate-authority-data: \"{ca}\"\n    server: \"https://{server}:6443\"\n  \
         name: \"{cluster}\"\ncontexts:\n- context:\n    cluster: \"{cluster}\"\n    \
         user: \"kube-admin-{cluster}\"\n  name: \"{cluster}\"\n\
         current-context: \"{cluster}\"\nusers:\n- name: \"kube-admin-{cluster}\"\n  user:\n    \
         client-certificate-data: \"{certificate}\"\n    client-key-data: \"{key}\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let yaml = "cluster_name: lab\nnodes:\n- {address: 10.0.0.1, role: [etcd, controlplane]}\n";
        Spec::parse(yaml).unwrap().judge().unwrap().0
    }

    #[test]
    fn the_ca_really_signs_the_leaves() {
        let mut bundle = mint_authorities().unwrap();
        mint_leaves(&mut bundle, &spec(), "./kube_config_cluster.yml").unwrap();
        let der = |name: &str| {
            let (_, pem) = parse_x509_pem(bundle[name].certificate.as_bytes()).unwrap();
            pem.contents
        };
        let ca_der = der(CA);
        let (_, ca) = X509Certificate::from_der(&ca_der).unwrap();
        for name in [API_SERVER, ADMIN, "kube-node", "kube-etcd-10-0-0-1"] {
            let leaf_der = der(name);
            let (_, leaf) = X509Certificate::from_der(&leaf_der).unwrap();
            assert_eq!(leaf.issuer(), ca.subject(), "{name}");
        }
        assert!(api_server_covers(&bundle, "10.0.0.1"));
        assert!(!api_server_covers(&bundle, "10.0.0.2"));
        let ca_pem = ca_of_kubeconfig(&bundle[ADMIN].config).unwrap();
        assert_eq!(fingerprint(&ca_pem), ca_fingerprint(&bundle));
    }
}
