//! A cache of bounded size that loads a value once, however many threads ask for it at the same time.
//!
//! Keys are spread over shards with a lock each. A key that is not there is marked as *loading*; the thread that marked
//! it loads without holding the lock, others wait for its answer. An error goes to all who waited and is not kept, so
//! that the next reader tries again. Values are evicted in the order of a clock: one that was used since the hand last
//! passed gets another round.

use std::collections::VecDeque;
use std::collections::hash_map::{DefaultHasher, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::ImageError;

const SHARDS: usize = 8;

/// A value and the bytes of memory that it counts for.
pub(super) struct Weighed<V> {
    pub(super) value: V,
    pub(super) weight: usize,
}

/// See the module.
pub(super) struct Cache<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: FixedHasher,
    shard_limit: usize,
}

/// Without random keys: a publisher who makes keys collide slows down his own package.
type FixedHasher = BuildHasherDefault<DefaultHasher>;

struct Shard<K, V> {
    slots: HashMap<K, Slot<V>, FixedHasher>,
    /// Keys of the ready slots, the clock's hand at the front.
    clock: VecDeque<K>,
    weight: usize,
}

enum Slot<V> {
    Ready { value: Arc<V>, weight: usize, used: bool },
    Loading(Arc<Flight<V>>),
}

/// What was found of a key.
enum Begun<'a, K: Copy + Eq + Hash, V> {
    Ready(Arc<V>),
    /// Nobody was loading it: now we are.
    Ours(Landing<'a, K, V>),
    Others(Arc<Flight<V>>),
}

/// A load under way.
struct Flight<V> {
    answer: Mutex<Option<Result<Arc<V>, ImageError>>>,
    landed: Condvar,
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// Makes a cache for values of `limit` bytes in all. Each shard keeps at least one value.
    pub(super) fn new(limit: usize) -> Cache<K, V> {
        let shard = || Mutex::new(Shard { slots: HashMap::default(), clock: VecDeque::new(), weight: 0 });
        Cache {
            shards: std::array::from_fn(|_| shard()),
            hasher: FixedHasher::default(),
            shard_limit: limit / SHARDS,
        }
    }

    /// Whether the value of `key` is there. It may be gone a moment later.
    pub(super) fn holds(&self, key: K) -> bool {
        matches!(self.shard(key).slots.get(&key), Some(Slot::Ready { .. }))
    }

    /// Returns the value of `key`, and loads it first if need be.
    ///
    /// # Errors
    /// What `load` returned, here or in another thread that was loading the same key.
    pub(super) fn get_or_load(
        &self,
        key: K,
        load: impl FnOnce() -> Result<Weighed<V>, ImageError>,
    ) -> Result<Arc<V>, ImageError> {
        match self.begin(key) {
            Begun::Ready(value) => Ok(value),
            Begun::Ours(landing) => landing.finish(load()),
            Begun::Others(flight) => flight.wait(),
        }
    }

    /// Has `load` write the value of `key` to `target`, where it is wanted, and does not keep it. Where the value is there
    /// already, or somebody else is loading it, `copy` brings it to `target`; where others ask for it meanwhile, `keep`
    /// makes a value of `target` for them.
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub(super) fn load_in_place<T: ?Sized>(
        &self,
        key: K,
        target: &mut T,
        copy: impl FnOnce(&V, &mut T),
        load: impl FnOnce(&mut T) -> Result<(), ImageError>,
        keep: impl FnOnce(&T) -> Weighed<V>,
    ) -> Result<(), ImageError> {
        match self.begin(key) {
            Begun::Ready(value) => copy(&value, target),
            Begun::Ours(landing) => {
                let loaded = load(target);
                landing.finish_in_place(loaded, || keep(target))?;
            }
            Begun::Others(flight) => copy(&*flight.wait()?, target),
        }
        Ok(())
    }

    fn begin(&self, key: K) -> Begun<'_, K, V> {
        let mut shard = self.shard(key);
        match shard.slots.get_mut(&key) {
            Some(Slot::Ready { value, used, .. }) => {
                *used = true;
                Begun::Ready(Arc::clone(value))
            }
            Some(Slot::Loading(flight)) => Begun::Others(Arc::clone(flight)),
            None => {
                let flight = Arc::new(Flight { answer: Mutex::new(None), landed: Condvar::new() });
                shard.slots.insert(key, Slot::Loading(Arc::clone(&flight)));
                Begun::Ours(Landing { cache: self, key, flight, landed: false })
            }
        }
    }

    fn shard(&self, key: K) -> MutexGuard<'_, Shard<K, V>> {
        // The upper bits: the map inside the shard uses the lower ones.
        let shard = (self.hasher.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.shards[shard])
    }
}

impl<K: Copy + Eq + Hash, V> Shard<K, V> {
    fn insert(&mut self, key: K, value: Arc<V>, weight: usize, limit: usize) {
        self.slots.insert(key, Slot::Ready { value, weight, used: false });
        self.clock.push_back(key);
        self.weight += weight;
        while self.weight > limit && self.clock.len() > 1 {
            let Some(oldest) = self.clock.pop_front() else { break };
            match self.slots.get_mut(&oldest) {
                Some(Slot::Ready { used, .. }) if *used => {
                    *used = false;
                    self.clock.push_back(oldest);
                }
                Some(Slot::Ready { weight, .. }) => {
                    self.weight -= *weight;
                    self.slots.remove(&oldest);
                }
                _ => {}
            }
        }
    }
}

impl<V> Flight<V> {
    fn wait(&self) -> Result<Arc<V>, ImageError> {
        let mut answer = lock(&self.answer);
        loop {
            match &*answer {
                Some(Ok(value)) => return Ok(Arc::clone(value)),
                Some(Err(error)) => return Err(*error),
                None => answer = self.landed.wait(answer).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Ends a flight for those who wait, even where the load panics.
struct Landing<'a, K: Copy + Eq + Hash, V> {
    cache: &'a Cache<K, V>,
    key: K,
    flight: Arc<Flight<V>>,
    landed: bool,
}

impl<K: Copy + Eq + Hash, V> Landing<'_, K, V> {
    fn finish(mut self, loaded: Result<Weighed<V>, ImageError>) -> Result<Arc<V>, ImageError> {
        self.landed = true;
        match loaded {
            Ok(Weighed { value, weight }) => {
                let value = Arc::new(value);
                self.cache.shard(self.key).insert(
                    self.key,
                    Arc::clone(&value),
                    weight,
                    self.cache.shard_limit,
                );
                self.answer(Ok(Arc::clone(&value)));
                Ok(value)
            }
            Err(error) => {
                self.cache.shard(self.key).slots.remove(&self.key);
                self.answer(Err(error));
                Err(error)
            }
        }
    }

    /// As [`Landing::finish`], but keeps nothing unless somebody waits for it.
    fn finish_in_place(
        mut self,
        loaded: Result<(), ImageError>,
        keep: impl FnOnce() -> Weighed<V>,
    ) -> Result<(), ImageError> {
        if loaded.is_ok() {
            let mut shard = self.cache.shard(self.key);
            // One is the slot's and one is ours. Who waits took one under this lock.
            if Arc::strong_count(&self.flight) == 2 {
                shard.slots.remove(&self.key);
                drop(shard);
                self.landed = true;
                return Ok(());
            }
        }
        self.finish(loaded.map(|()| keep())).map(drop)
    }

    fn answer(&self, answer: Result<Arc<V>, ImageError>) {
        *lock(&self.flight.answer) = Some(answer);
        self.flight.landed.notify_all();
    }
}

impl<K: Copy + Eq + Hash, V> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        if !self.landed {
            self.cache.shard(self.key).slots.remove(&self.key);
            self.answer(Err(ImageError::Read { offset: 0, errno: libc::EIO }));
        }
    }
}

/// No critical section here can leave its data half-changed, so a lock that another thread's panic poisoned is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn weighed(weight: usize) -> Result<Weighed<usize>, ImageError> {
        Ok(Weighed { value: weight, weight })
    }

    #[test]
    fn a_value_is_loaded_once_however_many_ask() {
        let cache = Cache::new(1 << 20);
        let (loads, start) = (AtomicUsize::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let value = cache.get_or_load(7_u64, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        weighed(5)
                    });
                    assert_eq!(*value.unwrap(), 5);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_error_goes_to_all_who_wait_and_is_not_kept() {
        let cache = Cache::<u64, usize>::new(1 << 20);
        let (loads, start) = (AtomicUsize::new(0), Barrier::new(4));
        let damaged = ImageError::Damaged { start: 1, end: 2 };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    let value = cache.get_or_load(7, || {
                        loads.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        Err(damaged)
                    });
                    assert_eq!(value.err(), Some(damaged));
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!(*cache.get_or_load(7, || weighed(3)).unwrap(), 3);
    }

    #[test]
    fn what_is_loaded_in_place_is_loaded_once_and_kept_only_for_those_who_wait() {
        let cache = Cache::<u64, usize>::new(1 << 20);
        let (loads, start) = (AtomicUsize::new(0), Barrier::new(8));
        let load = |pause: u64| {
            let mut target = 0;
            let loaded = cache.load_in_place(
                7,
                &mut target,
                |value, target| *target = *value,
                |target| {
                    loads.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                    *target = 5;
                    Ok(())
                },
                |target| Weighed { value: *target, weight: 1 },
            );
            loaded.map(|()| target)
        };
        // Alone: nothing is left behind.
        assert_eq!(load(0), Ok(5));
        assert!(!cache.holds(7));
        assert_eq!(cache.shards.iter().map(|shard| lock(shard).slots.len()).sum::<usize>(), 0);
        loads.store(0, Ordering::SeqCst);
        // Four in place and four who want it kept.
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (load, start, cache, loads) = (&load, &start, &cache, &loads);
                scope.spawn(move || {
                    start.wait();
                    let value = match number % 2 {
                        0 => load(100).unwrap(),
                        _ => *cache
                            .get_or_load(7, || {
                                loads.fetch_add(1, Ordering::SeqCst);
                                std::thread::sleep(std::time::Duration::from_millis(100));
                                weighed(5)
                            })
                            .unwrap(),
                    };
                    assert_eq!(value, 5);
                });
            }
        });
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert!(cache.holds(7));
    }

    #[test]
    fn a_load_that_panics_does_not_leave_others_waiting() {
        let cache = Cache::<u64, usize>::new(1 << 20);
        let loading = Barrier::new(2);
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                cache.get_or_load(7, || {
                    loading.wait();
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    panic!("on purpose")
                })
            });
            loading.wait();
            assert!(cache.get_or_load(7, || weighed(1)).is_err());
            assert!(panics.join().is_err());
        });
        assert!(cache.get_or_load(7, || weighed(1)).is_ok());
    }

    #[test]
    fn the_limit_holds_and_what_is_used_stays() {
        let limit = 8 * 100;
        let cache = Cache::new(limit);
        for key in 0..10_000_u64 {
            cache.get_or_load(key, || weighed(10)).unwrap();
            // Touched all the time.
            cache.get_or_load(0, || weighed(10)).unwrap();
        }
        let weight: usize = cache.shards.iter().map(|shard| lock(shard).weight).sum();
        assert!(weight <= limit, "{weight}");
        let slots: usize = cache.shards.iter().map(|shard| lock(shard).slots.len()).sum();
        let clock: usize = cache.shards.iter().map(|shard| lock(shard).clock.len()).sum();
        assert_eq!((slots, clock), (weight / 10, weight / 10));
        assert!(cache.holds(0));
        // A value larger than the limit is kept alone.
        cache.get_or_load(1 << 40, || weighed(limit * 2)).unwrap();
        assert!(cache.holds(1 << 40));
    }
}
