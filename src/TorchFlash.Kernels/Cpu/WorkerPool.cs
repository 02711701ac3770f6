using System.Runtime.ExceptionServices;

namespace TorchFlash.Kernels.Cpu;

/// <summary>
/// Runs one piece of work on several threads, the caller among them. The threads are kept; callers on different threads may use
/// the pool at the same time. Work items are claimed by the workers themselves, so that a helper that comes late costs nothing but
/// its share.
/// </summary>
internal static class WorkerPool
{
    private static readonly Stack<Helper> s_idle = [];

    /// <summary>
    /// Runs the worker on up to so many threads at once, fewer where the system gives no more, and returns when all have ended.
    /// </summary>
    /// <exception cref="AggregateException">The worker threw on several threads; what it threw on one comes out as it is.</exception>
    public static void Run(int threads, Action worker)
    {
        var helpers = new List<Helper>(Math.Max(0, threads - 1));
        var errors = new List<Exception>();
        while (helpers.Count < threads - 1 && TryRent() is { } helper)
        {
            helpers.Add(helper);
            helper.Start(worker);
        }
        try
        {
            worker();
        }
        catch (Exception e)
        {
            errors.Add(e);
        }
        foreach (Helper helper in helpers)
        {
            if (helper.Wait() is { } error)
                errors.Add(error);
            Return(helper);
        }
        if (errors.Count == 1)
            ExceptionDispatchInfo.Capture(errors[0]).Throw();
        if (errors.Count > 1)
            throw new AggregateException(errors);
    }

    private static Helper? TryRent()
    {
        try
        {
            return Rent();
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            return null;
        }
    }

    private static Helper Rent()
    {
        lock (s_idle)
            return s_idle.Count > 0 ? s_idle.Pop() : new Helper();
    }

    private static void Return(Helper helper)
    {
        lock (s_idle)
            s_idle.Push(helper);
    }

    private sealed class Helper
    {
        private readonly SemaphoreSlim _start = new(0);
        private readonly SemaphoreSlim _done = new(0);
        private Action _work = () => { };
        private Exception? _error;

        public Helper() => new Thread(Loop) { IsBackground = true, Name = "TorchFlash worker" }.Start();

        public void Start(Action work)
        {
            _work = work;
            _error = null;
            _start.Release();
        }

        public Exception? Wait()
        {
            _done.Wait();
            return _error;
        }

        private void Loop()
        {
            for (; ; )
            {
                _start.Wait();
                try
                {
                    _work();
                }
                catch (Exception e)
                {
                    _error = e;
                }
                _work = () => { };
                _done.Release();
            }
        }
    }
}
