//! A few threads over a list; results come back in its order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does `work` for every item with up to `jobs` threads, on this one where one will do; the first error stops the rest.
///
/// # Errors
/// The first of `work`.
pub fn map<T: Sync, R: Send, E: Send>(
    jobs: usize,
    items: &[T],
    work: &(dyn Fn(&T) -> Result<R, E> + Sync),
) -> Result<Vec<R>, E> {
    let mut results = Vec::with_capacity(items.len());
    in_order(jobs, items, work, &mut |result| {
        results.push(result);
        Ok(())
    })?;
    Ok(results)
}

/// As [`map`], giving each result to `take` on this thread as soon as all before it are there.
///
/// # Errors
/// The first of `work` and `take`.
pub fn in_order<T: Sync, R: Send, E: Send>(
    jobs: usize,
    items: &[T],
    work: &(dyn Fn(&T) -> Result<R, E> + Sync),
    take: &mut dyn FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let jobs = jobs.min(items.len());
    if jobs <= 1 {
        return items.iter().try_for_each(|item| take(work(item)?));
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if sender.send((at, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut waiting, mut at, mut outcome) = (BTreeMap::new(), 0, Ok(()));
        for (number, result) in receiver {
            match result {
                Ok(result) => {
                    waiting.insert(number, result);
                }
                // of several errors the first in order of arrival stands
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
            while let Some(result) = waiting.remove(&at).filter(|_| outcome.is_ok()) {
                at += 1;
                outcome = take(result);
                if outcome.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::{in_order, map};

    #[test]
    fn order_is_kept() {
        let items: Vec<u64> = (0..50).collect();
        let work = |n: &u64| {
            std::thread::sleep(std::time::Duration::from_micros((50 - n) * 20));
            Ok::<_, &str>(n * 2)
        };
        assert_eq!(
            map(4, &items, &work).unwrap(),
            items.iter().map(|n| n * 2).collect::<Vec<_>>()
        );
        assert_eq!(map(1, &items, &work).unwrap()[49], 98);
        assert!(map(4, &[], &work).unwrap().is_empty());
    }

    #[test]
    fn an_error_stops_work_and_hand_over() {
        let items: Vec<u64> = (0..1000).collect();
        let work = |n: &u64| {
            if *n == 10 { Err("ten") } else { Ok(*n) }
        };
        for jobs in [1, 2] {
            let mut taken = Vec::new();
            let result = in_order(jobs, &items, &work, &mut |n| {
                taken.push(n);
                Ok(())
            });
            assert!(result == Err("ten") && taken.len() <= 10, "{jobs}");
        }
    }
}
