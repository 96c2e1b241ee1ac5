//! The same for many hosts at once.

use futures::StreamExt;
use futures::stream;

/// Hosts that are worked on at once. Fifty hosts are one breath; more would cost a small bastion memory.
pub const AT_ONCE: usize = 64;

/// Does `work` for every item, at most [`AT_ONCE`] at a time; a slow one holds up nobody else. The results
/// are in the order of the items.
pub async fn each<'a, T, R, F>(items: &'a [T], work: impl Fn(&'a T) -> F) -> Vec<R>
where
    F: Future<Output = R>,
{
    let number = |(at, item)| {
        let work = work(item);
        async move { (at, work.await) }
    };
    // Made first and begun below: a closure that is kept across an await would not be `Send`.
    let numbered: Vec<_> = items.iter().enumerate().map(number).collect();
    let mut done: Vec<(usize, R)> = stream::iter(numbered).buffer_unordered(AT_ONCE).collect().await;
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn all_are_worked_on_at_once_within_the_bound_and_come_back_in_order() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<u64> = (0..200).collect();
        let work = |item: &u64| {
            let (now, most, item) = (&now, &most, *item);
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // The first one hangs for longest.
                tokio::time::sleep(Duration::from_secs(if item == 0 { 1_000 } else { 1 })).await;
                now.fetch_sub(1, Ordering::SeqCst);
                item
            }
        };
        assert_eq!(each(&items, work).await, items);
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    }
}
