//! Agents that are late, doubled, stale, newer or wrong about the time, against the real listener: what is
//! not theirs to say changes nothing.

use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use cratekube_tests::house::aftermath::CLUSTERS;
use cratekube_tests::house::puppet::{Hello, Puppet, PuppetSession, failed, now};
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use serde_json::Value;

const VOLUME: &str = "01900000-0000-7000-8000-000000000001";

/// A world whose own agent is away, and a puppet in its place.
async fn on_strings() -> anyhow::Result<(World, Puppet)> {
    let mut world = World::start(programs!()).await?;
    world.agent.process.stop().await?;
    let puppet = Puppet::enrolled(&world.controller, world.path(), "puppet-1").await?;
    Ok((world, puppet))
}

async fn finish(mut world: World) -> anyhow::Result<()> {
    world.agent.restart()?;
    world.agent.process.line("in session with the controller").await?;
    world.finish().await
}

/// A cluster is asked for, and the puppet has begun with it.
async fn begun(world: &World, session: &mut PuppetSession) -> anyhow::Result<(String, v1::Assignment)> {
    let accepted = world.client.post(CLUSTERS, &specs::nth("web", 1)).await?.expect(202)?;
    let assignment = session.assignment().await?;
    session.started(&assignment).await?;
    Ok((accepted.header("location").to_owned(), assignment))
}

async fn operation(world: &World, location: &str) -> anyhow::Result<Value> {
    Ok(world.client.get(location).await?.expect(200)?.json())
}

/// Returns once it is on record that the run has started.
async fn until_started(world: &World, location: &str) -> anyhow::Result<()> {
    for _ in 0..1_000 {
        if operation(world, location).await?["attempts"][0]["state"] == "started" {
            return Ok(());
        }
    }
    anyhow::bail!("it never started: {:#}", operation(world, location).await?)
}

/// A session, once the controller has noticed that another one is over.
async fn until_welcome(puppet: &Puppet, hello: Hello<'_>) -> anyhow::Result<PuppetSession> {
    for _ in 0..1_000 {
        if let Ok(session) = puppet.session(hello).await {
            return Ok(session);
        }
    }
    puppet.session(hello).await
}

fn is_forgotten(answer: &Down) -> bool {
    matches!(answer, Down::LeaseVerdicts(v) if v.verdicts[0].kind() == v1::VerdictKind::Forget)
}

#[tokio::test]
async fn hostile_row_44_doubled_overlapping_and_late_output_is_stored_once_and_gaps_are_not_joined()
-> anyhow::Result<()> {
    let (world, puppet) = on_strings().await?;
    let mut session = puppet.session(Hello { volume: Some(VOLUME), ..Hello::default() }).await?;
    let (location, run) = begun(&world, &mut session).await?;
    let mut output = puppet.output().await?;
    assert_eq!(output.chunk(&run, 0, "hello ").await?, (6, false));
    assert_eq!(output.chunk(&run, 0, "hello ").await?, (6, false), "doubled");
    assert_eq!(output.chunk(&run, 11, "!").await?, (6, false), "there is a gap before it");
    assert_eq!(output.chunk(&run, 3, "lo world").await?, (11, false), "only what is new of it");
    let stale = v1::Assignment { fence: run.fence - 1, ..run.clone() };
    assert!(output.chunk(&stale, 11, "stale").await?.1, "an old fence");
    // A report whose output is not there yet waits for it.
    let report = failed(&run, "the end", 12)?;
    session.say(Some(Up::Report(report.clone().into()))).await?;
    assert_eq!(output.chunk(&run, 11, "!").await?, (12, false));
    for told in ["first", "again"] {
        let answer = session.report(report.clone()).await?;
        assert!(matches!(answer, Down::ReportRecorded(_)), "{told}: {answer:?}");
    }
    assert!(is_forgotten(&session.report(failed(&run, "another end", 12)?).await?));
    assert!(output.chunk(&run, 12, "late").await?.1, "it is settled");
    session.started(&run).await?;
    assert!(is_forgotten(&session.next().await?), "late, and out of order");
    let ended = world.client.ended(&location).await?;
    assert_eq!((&ended["state"], &ended["failure"]["message"]), (&"failed".into(), &"the end".into()), "{ended:#}");
    let stored = world.client.get(&format!("{location}/output")).await?.expect(200)?;
    assert_eq!(stored.text(), "hello world!");
    finish(world).await
}

#[tokio::test]
async fn hostile_row_43_and_54_an_agent_whose_volume_went_to_another_is_not_heard_any_more() -> anyhow::Result<()> {
    let (world, first) = on_strings().await?;
    let hello = Hello { volume: Some(VOLUME), ..Hello::default() };
    let mut session = first.session(hello).await?;
    let (location, run) = begun(&world, &mut session).await?;
    let mut stale_output = first.output().await?;
    assert_eq!(stale_output.chunk(&run, 0, "before\n").await?, (7, false));
    drop(session);
    let second = Puppet::enrolled(&world.controller, world.path(), "puppet-2").await?;
    let holding = Hello { holds: Some(&run), ..hello };
    let mut successor = until_welcome(&second, holding).await?;
    assert_eq!(successor.welcome.verdicts[0].kind(), v1::VerdictKind::Continue, "it goes on where the volume is");
    // The first one comes back, with everything that it knew.
    assert!(first.session(holding).await.is_err(), "another serves the volume");
    let mut back = first.session(Hello::default()).await?;
    assert!(stale_output.chunk(&run, 7, "stale\n").await?.1, "its output is not taken");
    assert!(is_forgotten(&back.report(failed(&run, "stale", 7)?).await?), "nor its report");
    world.controller.process.line("stale report kept as evidence").await?;
    let going_on = operation(&world, &location).await?;
    assert_eq!(going_on["state"], "running", "{going_on:#}");
    let mut output = second.output().await?;
    assert_eq!(output.chunk(&run, 7, "after\n").await?, (13, false));
    successor.report(failed(&run, "the end", 13)?).await?;
    let ended = world.client.ended(&location).await?;
    assert_eq!(ended["failure"]["message"], "the end", "{ended:#}");
    let stored = world.client.get(&format!("{location}/output")).await?.expect(200)?;
    assert_eq!(stored.text(), "before\nafter\n");
    finish(world).await
}

#[tokio::test]
async fn hostile_row_34_an_agent_that_speaks_of_anothers_live_run_is_refused_and_rings_an_alarm() -> anyhow::Result<()>
{
    let (world, owner) = on_strings().await?;
    let mut session = owner.session(Hello { volume: Some(VOLUME), ..Hello::default() }).await?;
    let (location, run) = begun(&world, &mut session).await?;
    until_started(&world, &location).await?;
    let mut output = owner.output().await?;
    assert_eq!(output.chunk(&run, 0, "mine\n").await?, (5, false));
    let before = operation(&world, &location).await?;
    let stranger = Puppet::enrolled(&world.controller, world.path(), "puppet-2").await?;
    let (attempt, fence) = (run.attempt.clone(), run.fence);
    let words = [
        Up::Started(v1::RunStarted { attempt: attempt.clone(), fence, started_ms: now(0) }),
        Up::Progress(v1::RunProgress { attempt: attempt.clone(), fence, phase: "x".into(), step: 1, steps: 2 }),
        Up::Report(failed(&run, "forged", 0)?.into()),
        Up::Decline(v1::Decline { attempt: attempt.clone(), fence, reason: "forged".into(), unsupported: false }),
    ];
    for word in words {
        let mut other = stranger.session(Hello::default()).await?;
        other.say(Some(word.clone())).await?;
        let refused = other.next().await.unwrap_err();
        let status = refused.downcast_ref::<tonic::Status>().map(tonic::Status::code);
        assert_eq!(status, Some(tonic::Code::PermissionDenied), "{word:?}: {refused:?}");
    }
    let refused = stranger.output().await?.chunk(&run, 5, "forged\n").await.unwrap_err();
    let status = refused.downcast_ref::<tonic::Status>().map(tonic::Status::code);
    assert_eq!(status, Some(tonic::Code::PermissionDenied), "{refused:?}");
    // A heartbeat renews nothing that is not its own, and is told so.
    let other = stranger.session(Hello::default()).await?;
    let beat = v1::Heartbeat { now_ms: now(0), volumes: Vec::new(), attempts: vec![attempt], load: 0.0 };
    other.say(Some(Up::Heartbeat(beat))).await?;
    assert_eq!(operation(&world, &location).await?, before, "nothing moved");
    let evidence = world.client.get("/v1/admin/quarantine").await?.expect(200)?.json();
    assert_eq!(evidence["items"], serde_json::json!([]), "a stranger's word is no evidence");
    let alarms = world.client.get("/v1/admin/alarms?state=open").await?.expect(200)?.json();
    let alarm = &alarms["items"][0];
    assert_eq!((&alarm["kind"], &alarm["count"]), (&"foreign-run".into(), &5.into()), "{alarms:#}");
    session.report(failed(&run, "the end", 5)?).await?;
    assert_eq!(world.client.ended(&location).await?["failure"]["message"], "the end");
    finish(world).await
}

#[tokio::test]
async fn hostile_row_52_a_task_that_an_agent_does_not_know_goes_back_to_the_queue_for_an_upgraded_one()
-> anyhow::Result<()> {
    let (world, puppet) = on_strings().await?;
    let hello = Hello { volume: Some(VOLUME), ..Hello::default() };
    let mut session = puppet.session(hello).await?;
    let accepted = world.client.post(CLUSTERS, &specs::nth("web", 1)).await?.expect(202)?;
    let run = session.assignment().await?;
    let (attempt, fence, reason) = (run.attempt.clone(), run.fence, "unsupported".into());
    session.say(Some(Up::Decline(v1::Decline { attempt, fence, reason, unsupported: true }))).await?;
    world.controller.process.line("assignment declined").await?;
    // Upgraded, it connects anew.
    drop(session);
    let mut session = puppet.session(hello).await?;
    let again = session.assignment().await?;
    assert!(again.attempt != run.attempt && again.fence > run.fence, "{again:?}");
    session.started(&again).await?;
    session.report(failed(&again, "the end", 0)?).await?;
    let ended = world.client.ended(accepted.header("location")).await?;
    assert_eq!(ended["failure"]["message"], "the end", "{ended:#}");
    assert_eq!(ended["attempts"][0]["state"], "released", "{ended:#}");
    finish(world).await
}

#[tokio::test]
async fn hostile_row_53_what_only_a_newer_agent_says_ends_no_session_and_loses_no_report() -> anyhow::Result<()> {
    let (world, puppet) = on_strings().await?;
    let mut session = puppet.session(Hello { volume: Some(VOLUME), ..Hello::default() }).await?;
    session.say(None).await?;
    let (location, run) = begun(&world, &mut session).await?;
    session.say(None).await?;
    let mut report = v1::RunReport::from(failed(&run, "of a newer kind", 0)?);
    report.failure.as_mut().unwrap().class = "quantum".into();
    session.say(Some(Up::Report(report))).await?;
    assert!(matches!(session.next().await?, Down::ReportRecorded(_)));
    let ended = world.client.ended(&location).await?;
    assert_eq!(ended["failure"]["class"], "internal", "{ended:#}");
    assert_eq!(ended["failure"]["message"], "of a newer kind");
    finish(world).await
}

#[tokio::test]
async fn hostile_row_37_a_clock_that_is_ten_minutes_off_is_told_with_both_times_and_costs_no_lease()
-> anyhow::Result<()> {
    for (ahead_ms, words) in [(600_000, "ahead of"), (-600_000, "behind")] {
        let (world, puppet) = on_strings().await?;
        let mut session = puppet.session(Hello { volume: Some(VOLUME), ahead_ms, ..Hello::default() }).await?;
        let (location, run) = begun(&world, &mut session).await?;
        let agents = world.client.get("/v1/admin/agents").await?.expect(200)?.json();
        let shown = agents["items"].as_array().into_iter().flatten().find(|agent| agent["name"] == "puppet-1");
        let warning = shown.and_then(|agent| agent["clock_warning"].as_str()).unwrap_or_default();
        assert!(warning.contains(words), "{agents:#}");
        // Heartbeats renew the lease by the time at which they come, not by the one that they carry.
        for _ in 0..3 {
            let attempts = vec![run.attempt.clone()];
            let beat = v1::Heartbeat { now_ms: now(ahead_ms), volumes: Vec::new(), attempts, load: 0.0 };
            session.say(Some(Up::Heartbeat(beat))).await?;
        }
        until_started(&world, &location).await?;
        session.report(failed(&run, "the end", 0)?).await?;
        assert_eq!(world.client.ended(&location).await?["failure"]["message"], "the end");
        finish(world).await?;
    }
    Ok(())
}
