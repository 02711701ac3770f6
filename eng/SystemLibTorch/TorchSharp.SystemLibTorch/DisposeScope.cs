namespace TorchSharp;

/// <summary>Disposes of the tensors made on this thread while it was the innermost scope, at its own disposal.</summary>
public sealed class DisposeScope : IDisposable
{
    private DisposeScopeManager? _manager;

    internal DisposeScope(DisposeScopeManager manager)
    {
        _manager = manager;
        OuterScope = manager.CurrentDisposeScope;
    }

    internal DisposeScope? OuterScope { get; set; }

    internal HashSet<IDisposable> Disposables { get; private set; } = new(ReferenceEqualityComparer.Instance);

    /// <summary>What the scope will dispose of.</summary>
    public IReadOnlyList<IDisposable> DisposablesView => Live(Disposables.ToArray());

    /// <summary>How many objects the scope will dispose of.</summary>
    public int DisposablesCount => Live(Disposables.Count);

    /// <summary>Moves an object to the scope outside this one, or out of any.</summary>
    public T MoveToOuter<T>(T disposable)
        where T : IDisposable
    {
        MoveToOther(OuterScope, [disposable]);
        return disposable;
    }

    /// <summary>Moves objects to the scope outside this one, or out of any.</summary>
    public void MoveToOuter(params IDisposable[] disposables) => MoveToOther(OuterScope, disposables);

    /// <summary>Moves objects to the scope outside this one, or out of any.</summary>
    public void MoveToOuter(IEnumerable<IDisposable> disposables) => MoveToOther(OuterScope, disposables);

    /// <summary>Moves an object to another scope, out of any for null.</summary>
    public T MoveToOther<T>(DisposeScope? scope, T disposable)
        where T : IDisposable
    {
        MoveToOther(scope, [disposable]);
        return disposable;
    }

    /// <summary>Moves objects to another scope, out of any for null.</summary>
    public void MoveToOther(DisposeScope? scope, params IDisposable[] disposables) =>
        MoveToOther(scope, (IEnumerable<IDisposable>)disposables);

    /// <summary>Moves objects to another scope, out of any for null.</summary>
    public void MoveToOther(DisposeScope? scope, IEnumerable<IDisposable> disposables)
    {
        _ = Live(0);
        foreach (IDisposable disposable in disposables)
        {
            if (Disposables.Contains(disposable))
            {
                Own(scope, disposable);
            }
        }
    }

    /// <summary>Takes an object out of the scope.</summary>
    public T Detach<T>(T disposable)
        where T : IDisposable
    {
        MoveToOther(null, [disposable]);
        return disposable;
    }

    /// <summary>Takes objects out of the scope.</summary>
    public void Detach(params IDisposable[] disposables) => MoveToOther(null, disposables);

    /// <summary>Takes objects out of the scope.</summary>
    public void Detach(IEnumerable<IDisposable> disposables) => MoveToOther(null, disposables);

    /// <summary>Puts an object into the scope, out of the one it was in.</summary>
    public void Attach(IDisposable disposable) => Attach((IEnumerable<IDisposable>)[disposable]);

    /// <summary>Puts objects into the scope, out of the one they were in.</summary>
    public void Attach(params IDisposable[] disposables) => Attach((IEnumerable<IDisposable>)disposables);

    /// <summary>Puts objects into the scope, out of the one they were in.</summary>
    public IReadOnlyList<IDisposable> Attach(IEnumerable<IDisposable> disposables)
    {
        _ = Live(0);
        IDisposable[] items = disposables.ToArray();
        foreach (IDisposable disposable in items)
        {
            Own(this, disposable);
        }
        return items;
    }

    /// <summary>Disposes of everything in the scope now.</summary>
    public void DisposeEverything() => DisposeEverythingBut(Enumerable.Empty<IDisposable>());

    /// <summary>Disposes now of everything in the scope but some objects.</summary>
    public void DisposeEverythingBut(IEnumerable<IDisposable> inKeep)
    {
        _ = Live(0);
        HashSet<IDisposable> all = Disposables;
        Disposables = inKeep.ToHashSet<IDisposable>(ReferenceEqualityComparer.Instance);
        foreach (IDisposable disposable in all)
        {
            if (!Disposables.Contains(disposable))
            {
                disposable?.Dispose(); // what was kept before may have been null
            }
        }
    }

    /// <summary>Disposes now of everything in the scope but some objects.</summary>
    public void DisposeEverythingBut(params IDisposable[] keep) => DisposeEverythingBut((IEnumerable<IDisposable>)keep);

    /// <summary>Disposes now of everything in the scope but one object.</summary>
    public T DisposeEverythingBut<T>(T keep)
        where T : IDisposable
    {
        DisposeEverythingBut((IEnumerable<IDisposable>)[keep]);
        return keep;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_manager is not null)
        {
            DisposeEverything();
            _manager.RemoveDisposeScope(this);
            _manager = null;
        }
    }

    /// <summary>Forgets an object that was disposed of elsewhere.</summary>
    public void MarkAsDisposed(IDisposable disposable)
    {
        Disposables.Remove(disposable);
        Tensor(disposable).OwningDisposeScope = null;
    }

    /// <summary>Whether the scope will dispose of an object.</summary>
    public bool Contains(IDisposable disposable) => Disposables.Contains(disposable);

    private static void Own(DisposeScope? scope, IDisposable disposable)
    {
        torch.Tensor tensor = Tensor(disposable);
        tensor.OwningDisposeScope?.Disposables.Remove(tensor);
        scope?.Disposables.Add(tensor);
        tensor.OwningDisposeScope = scope;
    }

    private static torch.Tensor Tensor(IDisposable disposable) =>
        disposable as torch.Tensor ?? throw new InvalidOperationException("DisposeScope can only manage Tensor");

    private T Live<T>(T value) => _manager is null ? throw new ObjectDisposedException(nameof(DisposeScope)) : value;
}

/// <summary>The dispose scopes of one thread.</summary>
public class DisposeScopeManager
{
    [ThreadStatic]
    private static DisposeScopeManager? _ofThread;

    private DisposeScopeManager()
    {
    }

    internal static DisposeScopeManager ThreadSingleton => _ofThread ??= new DisposeScopeManager();

    internal DisposeScope? CurrentDisposeScope { get; private set; }

    internal static DisposeScope NewDisposeScope()
    {
        DisposeScopeManager manager = ThreadSingleton;
        return manager.CurrentDisposeScope = new DisposeScope(manager);
    }

    internal DisposeScope? RegisterOnCurrentDisposeScope(IDisposable item)
    {
        CurrentDisposeScope?.Disposables.Add(item);
        return CurrentDisposeScope;
    }

    // The innermost scope is replaced by the one outside it; one disposed of out of turn is unlinked from its inner one.
    internal void RemoveDisposeScope(DisposeScope scope)
    {
        if (CurrentDisposeScope == scope)
        {
            CurrentDisposeScope = scope.OuterScope;
            return;
        }
        for (DisposeScope? inner = CurrentDisposeScope; inner is not null; inner = inner.OuterScope)
        {
            if (inner.OuterScope == scope)
            {
                inner.OuterScope = scope.OuterScope;
            }
        }
    }
}

public static partial class torch
{
    /// <summary>Opens a scope on this thread: tensors made until it is disposed of go with it.</summary>
    public static DisposeScope NewDisposeScope() => DisposeScopeManager.NewDisposeScope();

    /// <summary>The innermost scope of this thread.</summary>
    public static DisposeScope? CurrentDisposeScope => DisposeScopeManager.ThreadSingleton.CurrentDisposeScope;

    /// <summary>Runs an expression in a scope of its own and keeps only its result.</summary>
    public static Tensor WrappedTensorDisposeScope(Func<Tensor> expr)
    {
        using DisposeScope scope = NewDisposeScope();
        return expr().MoveToOuterDisposeScope();
    }
}
