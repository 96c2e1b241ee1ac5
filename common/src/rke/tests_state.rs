//! State files: whole ones, torn ones, and each thing that can be missing.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use super::state::{StateFacts, StateFault, inspect};
use crate::domain::cluster::spec::NodeRole;

/// What RKE wrote for two hosts wanted where three were built; certificates and keys masked.
const EXAMPLE: &[u8] = include_bytes!("testdata/cluster.rkestate.masked.json");

fn ca(name: &str, is_ca: IsCa) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    // As RKE numbers its CA.
    params.serial_number = Some(0u64.into());
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn real_ca() -> String {
    ca("kube-ca", IsCa::Ca(BasicConstraints::Unconstrained))
}

fn sha256_of_pem(pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    data_encoding::HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref())
}

/// The example with certificates that can be read.
fn whole(desired_ca: &str, current_ca: &str) -> Value {
    let mut document: Value = serde_json::from_slice(EXAMPLE).unwrap();
    document["desiredState"]["certificatesBundle"]["kube-ca"]["certificatePEM"] = json!(desired_ca);
    document["currentState"]["certificatesBundle"]["kube-ca"]["certificatePEM"] = json!(current_ca);
    document
}

fn read(document: &Value) -> Result<StateFacts, StateFault> {
    inspect(document.to_string().as_bytes())
}

#[test]
fn a_whole_state_gives_its_facts() {
    let pem = real_ca();
    let facts = read(&whole(&pem, &pem)).unwrap();
    assert_eq!(facts.ca_sha256, sha256_of_pem(&pem));
    assert_eq!(facts.current_ca_sha256, None);
    assert!(facts.has_current);
    let addresses = |nodes: &[super::state::StateNode]| nodes.iter().map(|n| n.address.clone()).collect::<Vec<_>>();
    assert_eq!(addresses(&facts.nodes), ["172.30.0.11", "172.30.0.12", "172.30.0.13"]);
    assert_eq!(addresses(&facts.desired_nodes), ["172.30.0.11", "172.30.0.12"]);
    assert_eq!(facts.nodes[0].hostname.as_deref(), Some("node1"));
    assert_eq!(facts.nodes[0].roles, [NodeRole::ControlPlane, NodeRole::Etcd, NodeRole::Worker]);
    assert_eq!(facts.kubernetes_version.as_deref(), Some("v1.20.15-rancher2-1"));
}

#[test]
fn a_current_half_with_another_ca_is_shown() {
    let (new, old) = (real_ca(), real_ca());
    let facts = read(&whole(&new, &old)).unwrap();
    assert_eq!((facts.ca_sha256, facts.current_ca_sha256), (sha256_of_pem(&new), Some(sha256_of_pem(&old))));
}

#[test]
fn a_state_of_a_cluster_that_was_never_built_has_no_current_hosts() {
    let pem = real_ca();
    for current in [json!({}), Value::Null, json!({"rkeConfig": {"nodes": []}})] {
        let mut document = whole(&pem, &pem);
        document["currentState"] = current;
        let facts = read(&document).unwrap();
        assert!(!facts.has_current && facts.nodes.is_empty() && facts.desired_nodes.len() == 2);
        assert_eq!(facts.kubernetes_version.as_deref(), Some("v1.20.15-rancher2-1"));
    }
}

#[test]
fn hostile_row_58_each_thing_that_is_missing_has_its_fault_and_sentence() {
    let pem = real_ca();
    let with = |path: &str, value: Value| {
        let mut document = whole(&pem, &pem);
        *document.pointer_mut(path).unwrap() = value;
        read(&document).unwrap_err()
    };
    const CA: &str = "/desiredState/certificatesBundle/kube-ca";
    let bundle = "/desiredState/certificatesBundle";
    for (fault, expected, words) in [
        (inspect(b"").unwrap_err(), StateFault::Empty, "is empty"),
        (inspect(b" \n\0\0").unwrap_err(), StateFault::Empty, "is empty"),
        (read(&json!({})).unwrap_err(), StateFault::NoCluster, "describes no cluster"),
        (with("/desiredState/rkeConfig", Value::Null), StateFault::NoCluster, "describes no cluster"),
        (with(bundle, Value::Null), StateFault::NoCertificates, "certificatesBundle"),
        (with(bundle, json!({})), StateFault::NoCertificates, "certificatesBundle"),
        (with(CA, Value::Null), StateFault::NoCa, "kube-ca"),
        (with(&format!("{CA}/certificatePEM"), json!("")), StateFault::NoCa, "kube-ca"),
        (with(&format!("{CA}/keyPEM"), json!(" ")), StateFault::CaWithoutKey, "without its key"),
        (with(&format!("{CA}/keyPEM"), Value::Null), StateFault::CaWithoutKey, "without its key"),
    ] {
        assert_eq!(fault, expected);
        assert!(fault.to_string().contains(words), "{fault}");
    }
    let leaf = ca("kube-ca", IsCa::NoCa);
    for bad in ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "nonsense", &leaf] {
        let fault = with(&format!("{CA}/certificatePEM"), json!(bad));
        assert!(matches!(fault, StateFault::BadCa(_)), "{bad}: {fault}");
    }
}

#[test]
fn a_masked_certificate_is_not_taken_for_a_ca() {
    assert!(matches!(inspect(EXAMPLE), Err(StateFault::BadCa(_))));
}

#[test]
fn hostile_row_58_a_state_that_was_cut_anywhere_is_never_whole() {
    let pem = real_ca();
    let bytes = serde_json::to_vec_pretty(&whole(&pem, &pem)).unwrap();
    assert!(inspect(&bytes).is_ok());
    for cut in (0..bytes.len()).step_by(997).chain(bytes.len() - 40..bytes.len()) {
        let fault = inspect(&bytes[..cut]).unwrap_err();
        assert!(matches!(fault, StateFault::Empty | StateFault::Torn { .. }), "cut at {cut}: {fault}");
    }
    // A longer file over which a shorter one was written, and holes that a crash left.
    assert!(matches!(inspect(&[&bytes[..], b"}"].concat()), Err(StateFault::Torn { .. })));
    let mut holed = bytes.clone();
    holed[20_000..24_096].fill(0);
    assert!(matches!(inspect(&holed), Err(StateFault::Torn { .. })));
    assert!(matches!(inspect(&vec![0; 4096]), Err(StateFault::Empty)));
}
