//! Identities of agents: certificates one after the other, tokens with conditions, and being locked out.

use std::time::Duration;

use cratekube_common::domain::agent::{AgentState, RENEW_GRACE};
use cratekube_common::domain::id::{AgentId, JoinTokenId, VolumeId};

use super::family;
use super::house::{House, entry, hash};
use crate::store::{
    Bar, BarAgent, Barred, CertificateFacts, EnrollAgent, EnrollRefusal, Enrolled, NewJoinToken, PageRequest,
    RenewAgent, Renewed, UseCertificate, Withdrawn,
};

family![
    a_certificate_is_in_use_once_it_is_shown,
    one_whose_answer_was_lost_is_replaced_by_the_next,
    hostile_row_35_a_renewal_with_a_replaced_certificate_is_told_apart,
    hostile_row_29_who_has_the_key_of_an_agent_that_was_never_seen_may_ask_again,
    hostile_row_30_a_token_for_a_volume_is_for_agents_that_serve_it,
    tokens_are_listed_newest_first_and_taken_back_while_unused,
    a_used_token_is_remembered_after_its_end,
    hostile_row_36_a_revoked_agent_is_cut_and_its_name_is_free,
    hostile_row_36_a_ban_holds_its_name_and_its_keys_until_it_is_lifted,
    a_quarantine_holds_the_name_until_the_agent_is_revoked,
    certificates_are_forgotten_when_nobody_can_use_them,
    hostile_row_39_agents_that_have_not_taken_a_root_over_are_told_until_they_cannot_renew,
    hostile_row_39_certificates_from_before_are_those_of_the_one_root_that_there_was,
];

async fn renew(house: &House, agent: AgentId, shown: &str, certificate: &CertificateFacts) -> Renewed {
    let request = RenewAgent { agent, shown: shown.into(), certificate: certificate.clone(), now: house.now() };
    house.store.renew_agent(request).await.unwrap()
}

async fn show(house: &House, agent: AgentId, certificate: &CertificateFacts) -> bool {
    let request = UseCertificate { agent, certificate: certificate.clone(), now: house.now() };
    house.store.use_certificate(request).await.unwrap()
}

async fn bar(house: &House, agent: AgentId, bar: Bar) -> Barred {
    let request = BarAgent { agent, bar, audit: entry("agent.bar", "bastion-a"), now: house.now() };
    house.store.bar_agent(request).await.unwrap()
}

async fn enrol(house: &House, name: &str, key_sha256: Option<&str>) -> Enrolled {
    let secret = house.id::<AgentId>().to_string();
    house.token(&secret, "*").await;
    let mut request = house.enrolment(&secret, name);
    if let Some(key) = key_sha256 {
        request.certificate.key_sha256 = key.to_owned();
    }
    house.store.enroll_agent(request).await.unwrap()
}

async fn a_certificate_is_in_use_once_it_is_shown(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let first = house.certificate("0a", 1);
    assert!(show(house, agent, &first).await);
    let second = house.certificate("0b", 2);
    assert_eq!(renew(house, agent, "0a", &second).await, Renewed::Now);
    let before = house.store.agent(agent).await.unwrap().unwrap();
    assert_eq!((before.certificate_serial.as_str(), before.certificate_generation), ("0a", 1));
    assert!(show(house, agent, &second).await);
    assert!(show(house, agent, &second).await, "shown on two connections at once");
    let after = house.store.agent(agent).await.unwrap().unwrap();
    assert_eq!((after.certificate_serial.as_str(), after.certificate_generation), ("0b", 2));
    assert_eq!(after.certificate_not_after, second.not_after);
    let old = house.store.certificate(agent, "0a").await.unwrap().unwrap();
    assert_eq!((old.generation, old.used_at, old.replaced_at), (1, Some(house.now()), Some(house.now())));
    assert!(!show(house, agent, &first).await, "the old one does not come back");
    assert_eq!(house.store.certificate(agent, "0c").await.unwrap(), None);
    assert_eq!(renew(house, house.id(), "0a", &second).await, Renewed::NotAllowed);
}

async fn hostile_row_39_agents_that_have_not_taken_a_root_over_are_told_until_they_cannot_renew(house: &mut House) {
    let (ahead, behind) = (house.enrolled("bastion-a", "*").await, house.enrolled("bastion-b", "*").await);
    let gone = house.enrolled("bastion-c", "*").await;
    assert_eq!(bar(house, gone, Bar::Revoke).await, Barred::Now);
    let told = async |house: &House, issuer: &str, limit| {
        let agents = house.store.agents_not_certified_by(issuer.to_owned(), house.now(), limit).await.unwrap();
        agents.into_iter().map(|agent| agent.id).collect::<Vec<_>>()
    };
    assert_eq!(told(house, "0c", 10).await, []);
    assert_eq!(told(house, "0d", 10).await, [ahead, behind], "not those that may not connect");
    assert_eq!(told(house, "0d", 1).await, [ahead]);
    assert!(show(house, ahead, &house.certificate("0a", 1)).await);
    let next = CertificateFacts { issuer: "0d".into(), trust: "0c 0d".into(), ..house.certificate("0b", 2) };
    assert_eq!(renew(house, ahead, "0a", &next).await, Renewed::Now);
    assert_eq!(told(house, "0d", 10).await, [ahead, behind], "it has not shown it yet");
    assert!(show(house, ahead, &next).await);
    assert_eq!(told(house, "0d", 10).await, [behind]);
    let issuer = house.store.agent(ahead).await.unwrap().unwrap().certificate_issuer;
    let record = house.store.certificate(ahead, "0b").await.unwrap().unwrap();
    assert_eq!((issuer.as_deref(), record.trust.as_str()), (Some("0d"), "0c 0d"));
    house.clock.advance(Duration::from_secs(24 * 3_600) + RENEW_GRACE);
    let unshown = house.certificate("0e", 2);
    assert_eq!(renew(house, behind, "0a", &unshown).await, Renewed::Now);
    assert_eq!(told(house, "0d", 10).await, [behind], "it may have one that was never shown");
    house.clock.advance(Duration::from_secs(24 * 3_600) + RENEW_GRACE);
    assert_eq!(told(house, "0d", 10).await, [], "they must be enrolled again anyway");
}

async fn hostile_row_39_certificates_from_before_are_those_of_the_one_root_that_there_was(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let before = CertificateFacts { issuer: String::new(), trust: String::new(), ..house.certificate("0b", 2) };
    assert!(show(house, agent, &house.certificate("0a", 1)).await);
    assert_eq!(renew(house, agent, "0a", &before).await, Renewed::Now);
    assert!(show(house, agent, &before).await);
    assert_eq!(house.store.agent(agent).await.unwrap().unwrap().certificate_issuer, None);
    assert_eq!(house.store.adopt_certificates("0f".into()).await.unwrap(), 1);
    assert_eq!(house.store.adopt_certificates("0f".into()).await.unwrap(), 0, "once");
    assert_eq!(house.store.agent(agent).await.unwrap().unwrap().certificate_issuer.as_deref(), Some("0f"));
    assert_eq!(house.store.certificate(agent, "0b").await.unwrap().unwrap().trust, "0f");
    assert_eq!(house.store.certificate(agent, "0a").await.unwrap().unwrap().trust, "0c", "what is known stays");
}

async fn one_whose_answer_was_lost_is_replaced_by_the_next(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let (lost, found) = (house.certificate("0b", 2), house.certificate("0c", 2));
    assert_eq!(renew(house, agent, "0a", &lost).await, Renewed::Now);
    assert_eq!(renew(house, agent, "0a", &found).await, Renewed::Now);
    assert!(!show(house, agent, &lost).await);
    assert!(show(house, agent, &found).await);
}

async fn hostile_row_35_a_renewal_with_a_replaced_certificate_is_told_apart(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let second = house.certificate("0b", 2);
    renew(house, agent, "0a", &second).await;
    show(house, agent, &second).await;
    assert_eq!(renew(house, agent, "0a", &house.certificate("0c", 2)).await, Renewed::Superseded);
    assert_eq!(renew(house, agent, "0b", &house.certificate("0d", 3)).await, Renewed::Now, "the right one may");
}

async fn hostile_row_30_a_token_for_a_volume_is_for_agents_that_serve_it(house: &mut House) {
    let volume: VolumeId = house.id();
    let any = house.token("any", "*").await;
    let bound = NewJoinToken { id: house.id(), secret_sha256: hash("v"), volume: Some(volume), ..any };
    house.store.keep_join_token(bound, entry("join-token.create", "v")).await.unwrap();
    let mut request = house.enrolment("v", "a");
    request.volumes = vec![house.id()];
    let refused = house.store.enroll_agent(request.clone()).await.unwrap();
    assert_eq!(refused, Enrolled::Refused(EnrollRefusal::OtherVolume));
    request.volumes.push(volume);
    assert_eq!(house.store.enroll_agent(request).await.unwrap(), Enrolled::New, "it was not used up");
}

async fn hostile_row_29_who_has_the_key_of_an_agent_that_was_never_seen_may_ask_again(house: &mut House) {
    house.token("once", "*").await;
    let first = house.enrolment("once", "a");
    let certificate = |serial, key: &str| CertificateFacts { key_sha256: hash(key), ..house.certificate(serial, 1) };
    let enroll = |request: EnrollAgent| house.store.enroll_agent(request);
    let with = |agent, serial, key: &str| EnrollAgent { agent, certificate: certificate(serial, key), ..first.clone() };
    let (lost, other): (AgentId, AgentId) = (first.agent, house.id());
    assert_eq!(enroll(with(lost, "0a", "its own")).await.unwrap(), Enrolled::New);
    let used = Enrolled::Refused(EnrollRefusal::Used);
    assert_eq!(enroll(with(other, "0b", "another's")).await.unwrap(), used, "the token alone is not enough");
    assert_eq!(enroll(with(other, "0b", "its own")).await.unwrap(), Enrolled::Before(lost));
    assert_eq!(enroll(with(lost, "0c", "its own")).await.unwrap(), Enrolled::New);
    assert_eq!(house.store.agent(lost).await.unwrap().unwrap().certificate_serial, "0c");
    assert!(house.store.agent(other).await.unwrap().is_none());
    assert!(!show(house, lost, &certificate("0a", "its own")).await, "what was lost is of no use to its finder");
    assert!(show(house, lost, &certificate("0c", "its own")).await);
    assert_eq!(enroll(with(other, "0d", "its own")).await.unwrap(), used, "it was seen");
}

async fn tokens_are_listed_newest_first_and_taken_back_while_unused(house: &mut House) {
    let mut made = Vec::new();
    for secret in ["one", "two", "three"] {
        made.push(house.token(secret, "*").await.id);
        house.clock.advance(Duration::from_secs(1));
    }
    let agent = house.enrolment("two", "a");
    house.store.enroll_agent(agent.clone()).await.unwrap();
    let first = house.store.join_tokens(PageRequest { after: None, limit: 2 }).await.unwrap();
    let rest = house.store.join_tokens(PageRequest { after: first.next, limit: 2 }).await.unwrap();
    let listed: Vec<_> = first.items.iter().chain(&rest.items).collect();
    assert_eq!(listed.iter().map(|token| token.id).collect::<Vec<_>>(), [made[2], made[1], made[0]]);
    assert_eq!(listed[1].used.map(|(_, by)| by), Some(agent.agent));
    assert_eq!((listed[0].used, listed[0].created_by.as_str(), rest.next), (None, "ann", None));
    let withdraw = |id: JoinTokenId| house.store.withdraw_join_token(id, entry("join-token.delete", "x"), house.now());
    assert_eq!(withdraw(made[0]).await.unwrap(), Withdrawn::Done);
    assert_eq!(withdraw(made[0]).await.unwrap(), Withdrawn::NotFound);
    assert_eq!(withdraw(made[1]).await.unwrap(), Withdrawn::Used);
    let refused = house.store.enroll_agent(house.enrolment("one", "b")).await.unwrap();
    assert_eq!(refused, Enrolled::Refused(EnrollRefusal::Unknown));
}

async fn a_used_token_is_remembered_after_its_end(house: &mut House) {
    house.token("unused", "*").await;
    house.token("used", "*").await;
    house.store.enroll_agent(house.enrolment("used", "a")).await.unwrap();
    house.clock.advance(Duration::from_secs(29 * 24 * 3_600));
    assert_eq!(house.store.purge_expired(house.now()).await.unwrap(), 1);
    let again = house.store.enroll_agent(house.enrolment("used", "b")).await.unwrap();
    assert_eq!(again, Enrolled::Refused(EnrollRefusal::Used), "an alarm, not a riddle");
    house.clock.advance(Duration::from_secs(2 * 24 * 3_600));
    house.store.purge_expired(house.now()).await.unwrap();
    let later = house.store.enroll_agent(house.enrolment("used", "b")).await.unwrap();
    assert_eq!(later, Enrolled::Refused(EnrollRefusal::Unknown));
}

async fn hostile_row_36_a_revoked_agent_is_cut_and_its_name_is_free(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let agent = bastion.agent;
    assert_eq!(bar(house, agent, Bar::Revoke).await, Barred::Now);
    assert_eq!(bar(house, agent, Bar::Revoke).await, Barred::Already);
    assert_eq!(bar(house, house.id(), Bar::Revoke).await, Barred::NotFound);
    let cuts = house.store.cuts(0).await.unwrap();
    assert_eq!(cuts.iter().map(|cut| cut.agent).collect::<Vec<_>>(), [agent]);
    assert!(house.store.cuts(cuts[0].number).await.unwrap().is_empty());
    assert_eq!(house.store.agent(agent).await.unwrap().unwrap().state, AgentState::Revoked);
    assert_eq!(renew(house, agent, "0a", &house.certificate("0b", 2)).await, Renewed::NotAllowed);
    assert_eq!(enrol(house, "bastion-a", None).await, Enrolled::New);
}

async fn hostile_row_36_a_ban_holds_its_name_and_its_keys_until_it_is_lifted(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let second = house.certificate("0b", 2);
    renew(house, agent, "0a", &second).await;
    assert_eq!(bar(house, agent, Bar::Ban).await, Barred::Now);
    assert_eq!(bar(house, agent, Bar::Ban).await, Barred::Already);
    assert!(house.store.agent(agent).await.unwrap().unwrap().banned);
    house.reopen().await;
    house.clock.advance(Duration::from_secs(90 * 24 * 3_600));
    house.store.purge_expired(house.now()).await.unwrap();
    let banned = Enrolled::Refused(EnrollRefusal::Banned);
    assert_eq!(enrol(house, "bastion-a", None).await, banned);
    assert_eq!(enrol(house, "bastion-b", Some(&second.key_sha256)).await, banned, "its key under another name");
    assert_eq!(enrol(house, "bastion-c", None).await, Enrolled::New);
    let lift = || house.store.lift_ban(agent, entry("agent.unban", "bastion-a"), house.now());
    assert_eq!((lift().await.unwrap(), lift().await.unwrap()), (Barred::Now, Barred::Already));
    assert_eq!(enrol(house, "bastion-a", None).await, Enrolled::New);
    assert_eq!(house.store.agent(agent).await.unwrap().unwrap().state, AgentState::Revoked, "it stays out itself");
}

async fn a_quarantine_holds_the_name_until_the_agent_is_revoked(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    assert_eq!(bar(house, agent, Bar::Quarantine).await, Barred::Now);
    assert_eq!(bar(house, agent, Bar::Quarantine).await, Barred::Already);
    assert_eq!(renew(house, agent, "0a", &house.certificate("0b", 2)).await, Renewed::NotAllowed);
    assert_eq!(enrol(house, "bastion-a", None).await, Enrolled::Refused(EnrollRefusal::NameTaken));
    assert_eq!(bar(house, agent, Bar::Revoke).await, Barred::Now);
    assert_eq!(bar(house, agent, Bar::Quarantine).await, Barred::Already, "revoked is more");
    assert_eq!(enrol(house, "bastion-a", None).await, Enrolled::New);
    assert_eq!(house.store.cuts(0).await.unwrap().len(), 2);
}

async fn certificates_are_forgotten_when_nobody_can_use_them(house: &mut House) {
    let agent = house.enrolled("bastion-a", "*").await;
    let (second, third) = (house.certificate("0b", 2), house.certificate("0c", 3));
    renew(house, agent, "0a", &second).await;
    show(house, agent, &second).await;
    house.clock.advance(Duration::from_secs(24 * 3_600));
    renew(house, agent, "0b", &third).await;
    house.clock.advance(Duration::from_secs(13 * 24 * 3_600));
    house.store.purge_expired(house.now()).await.unwrap();
    assert!(house.store.certificate(agent, "0a").await.unwrap().is_some(), "it might still be tried");
    house.clock.advance(Duration::from_secs(30 * 24 * 3_600));
    house.store.purge_expired(house.now()).await.unwrap();
    assert_eq!(house.store.certificate(agent, "0a").await.unwrap(), None);
    assert!(house.store.certificate(agent, "0b").await.unwrap().is_some(), "the one in use stays");
}
