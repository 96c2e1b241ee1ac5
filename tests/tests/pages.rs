//! The page for people, in a real browser: who looks sees a cluster being built, and text from outside
//! stays text. Needs Chromium; says that it is skipped without, and fails without where `CI` is set.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;

use cratekube_tests::house::aftermath::CLUSTERS;
use cratekube_tests::house::browser::{Browser, Page, program_or_skip};
use cratekube_tests::house::rest::Ask;
use cratekube_tests::house::{World, specs};
use cratekube_tests::programs;
use cratekube_tests::rehearsal::fault::{Fault, Kind};
use cratekube_tests::rehearsal::fleet::HostFault;
use http::Method;
use serde_json::json;

/// Names a folder for pictures of what the tests see.
const PICTURES: &str = "PICTURES";

/// Text that would do something if anybody read it as HTML.
const HOSTILE: &str = r#"<img src=x onerror="window.hit=1"><script>window.hit=2</script>"#;

async fn picture(page: &Page, name: &str) -> anyhow::Result<()> {
    let Some(at) = std::env::var_os(PICTURES).map(PathBuf::from) else { return Ok(()) };
    for (kind, width, height, dark) in
        [("wide", 1200, 900, false), ("dark", 1200, 900, true), ("phone", 390, 844, false)]
    {
        page.looks(width, height, dark).await?;
        std::fs::write(at.join(format!("{name}-{kind}.png")), page.picture().await?)?;
    }
    page.looks(1200, 900, false).await
}

/// Opens the page and signs in by keyboard alone.
async fn signed_in(world: &World, browser: &Browser, credential: &str) -> anyhow::Result<Page> {
    let page = browser.open(&format!("https://localhost:{}/ui/", world.controller.rest.port())).await?;
    page.until("document.getElementById('enter').hidden === false").await?;
    page.value("document.getElementById('credential').focus()").await?;
    page.types(credential).await?;
    page.presses("Enter").await?;
    Ok(page)
}

/// A key of somebody, as the first one is made.
async fn key(world: &World, subject: &str, grants: &[&str]) -> anyhow::Result<String> {
    let mut args = vec!["api-key", "create", "--name", "page", "--subject", subject];
    grants.iter().for_each(|grant| args.extend(["--grant", grant]));
    let told = world.controller.command(&args).await?;
    Ok(told.split_whitespace().find(|word| word.starts_with("ckk1_")).unwrap_or_default().to_owned())
}

/// Nothing was thrown, refused or asked.
fn quiet(page: &Page) {
    let complaints = page.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn who_looks_sees_a_cluster_being_built_and_no_word_of_the_key_is_kept() -> anyhow::Result<()> {
    let Some(program) = program_or_skip("the page", |why| println!("{why}"))? else { return Ok(()) };
    let (mut world, browser) = (World::start(programs!()).await?, Browser::start(&program).await?);
    let key = key(&world, "eve", &["admin:*"]).await?;
    let page = signed_in(&world, &browser, &key).await?;
    page.shows("Needs attention").await?;
    page.until("document.getElementById('live').textContent === 'live'").await?;
    page.shows("bastion-1").await?;
    assert!(!page.value("location.href + document.documentElement.outerHTML").await?.to_string().contains(&key));
    assert_eq!(page.value("document.cookie + localStorage.length").await?, json!("0"));

    // It comes by itself: nobody asks the page to look again.
    let gate = world.gate("Building Kubernetes cluster")?;
    let accepted = world.client.post(CLUSTERS, &specs::nth("web", 1)).await?.expect(202)?;
    let passage = gate.reached().await?;
    page.until("document.querySelector('li[data-operation]').textContent.includes('Step 3 of ')").await?;
    picture(&page, "overview").await?;

    // Its operation, by keyboard: live output, and what is left of it once it is over.
    page.value("document.querySelector('li[data-operation] a').focus()").await?;
    page.presses("Enter").await?;
    page.until("document.getElementById('output').textContent.includes('Building Kubernetes cluster')").await?;
    picture(&page, "running").await?;
    drop(passage);
    let operation = world.client.ended(accepted.header("location")).await?;
    assert_eq!(operation["state"], "succeeded");
    page.until("document.querySelector('.title .badge').textContent === 'succeeded'").await?;
    let whole = world.client.get(&format!("{}/output", accepted.header("location"))).await?.text();
    page.until(&format!("document.getElementById('output').textContent === {}", json!(whole))).await?;

    page.value("document.querySelector('.title a').click()").await?;
    page.shows("Generations of its state").await?;
    page.until("document.querySelector('.title .badge').textContent === 'ready'").await?;
    picture(&page, "cluster").await?;
    page.value("location.hash = '#/'").await?;
    page.until("[...document.querySelectorAll('td')].some((cell) => cell.textContent.includes('ready'))").await?;
    page.value("[...document.querySelectorAll('a')].find((link) => link.textContent === 'bastion-1').click()").await?;
    page.shows("What happened").await?;
    picture(&page, "agent").await?;

    quiet(&page);

    // An agent that goes away needs attention, until it is back.
    page.value("location.hash = '#/'").await?;
    page.until("document.querySelector('[aria-label=Agents] .badge').textContent === 'online'").await?;
    world.agent.process.kill().await?;
    page.until("document.querySelector('[aria-label=Agents] .badge').textContent === 'offline'").await?;
    page.until("document.getElementById('attention').textContent.includes('connected')").await?;
    picture(&page, "attention").await?;
    world.agent.restart()?;
    page.until("!document.getElementById('attention')?.textContent.includes('connected')").await?;

    // Where the controller goes away the page says so, and goes on by itself when it is back.
    world.controller.process.kill().await?;
    page.until("document.getElementById('live').dataset.state === 'off'").await?;
    world.controller.restart().await?;
    page.until("document.getElementById('live').textContent === 'live'").await?;

    page.value("document.getElementById('leave').click()").await?;
    page.until(
        "document.getElementById('enter').hidden === false && document.getElementById('view').textContent === ''",
    )
    .await?;
    assert_eq!(page.value("sessionStorage.length").await?, json!(0));
    picture(&page, "enter").await?;
    world.finish().await
}

#[tokio::test]
async fn hostile_row_13_text_from_outside_stays_text_and_a_viewer_sees_only_what_is_theirs() -> anyhow::Result<()> {
    let Some(program) = program_or_skip("hostile text", |why| println!("{why}"))? else { return Ok(()) };
    let (mut world, browser) = (World::start(programs!()).await?, Browser::start(&program).await?);
    let accepted = world.client.post(CLUSTERS, &specs::nth("web", 1)).await?.expect(202)?;
    world.client.ended(accepted.header("location")).await?;
    world.rke.fault(Fault::new(Kind::ExtraLine { text: HOSTILE.to_owned(), after: None }))?;
    world.rke.host("198.18.0.3").unreachable(HostFault::WrongKey)?;
    let accepted = world.client.post(CLUSTERS, &specs::nth("bad", 2)).await?.expect(202)?;
    let failed = world.client.ended(accepted.header("location")).await?;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let path = format!("{CLUSTERS}/bad");
    let removal = Ask::new(Method::DELETE, &path).json(&json!({"reason": HOSTILE}));
    let removal = world.client.send(removal).await?.expect(202)?;
    world.client.ended(removal.header("location")).await?;

    let token = world.controller.command(&["token", "issue", "--subject", HOSTILE, "--grant", "viewer:prod"]).await?;
    let page = signed_in(&world, &browser, &token).await?;
    page.shows("This is told to administrators.").await?;
    page.until(&format!("document.getElementById('who').textContent === {}", json!(HOSTILE))).await?;
    for (location, place) in [(accepted.header("location"), "#output"), (removal.header("location"), "#operation")] {
        let id = location.rsplit('/').next().unwrap_or_default();
        page.value(&format!("location.hash = '#/operations/{id}'")).await?;
        page.until(&format!("document.querySelector('{place}').textContent.includes({})", json!(HOSTILE))).await?;
        if place == "#output" {
            page.shows("What to do: ").await?;
            picture(&page, "failed").await?;
        }
    }
    // An address may be anything, too.
    page.value(&format!(
        "location.hash = '#/clusters/' + encodeURIComponent({0}) + '/' + encodeURIComponent({0})",
        json!(HOSTILE)
    ))
    .await?;
    page.until("document.getElementById('trouble').hidden === false").await?;
    let inert = "[window.hit, document.scripts.length, document.images.length, location.hash = '#/%E0%A4%A/x']";
    assert_eq!(page.value(inert).await?, json!([null, 1, 0, "#/%E0%A4%A/x"]));
    page.shows("Needs attention").await?;
    // The browser itself would stop us.
    let thrown = page.value("(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (fault) { return fault.name } })()").await?;
    assert_eq!(thrown, json!("TypeError"));
    let blocked = "fetch('https://127.0.0.1:1/x').then(() => 'sent', () => 'not sent')";
    assert_eq!(page.value(blocked).await?, json!("not sent"));
    world.finish().await
}
