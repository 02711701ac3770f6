namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        /// <summary>A module whose call can be watched and changed by hooks, which run in the order of registration.</summary>
        /// <typeparam name="TPreHook">Type of a hook that sees, and may replace, the inputs.</typeparam>
        /// <typeparam name="TPostHook">Type of a hook that sees the inputs and sees, and may replace, the result.</typeparam>
        public class HookableModule<TPreHook, TPostHook> : Module
        {
            // Copied on every change, so that a hook may add or remove hooks while a call runs.
            private protected Hook<TPreHook>[] InputHooks { get; private set; } = [];
            private protected Hook<TPostHook>[] ResultHooks { get; private set; } = [];
            private Hook<Action<Module>>[] beforeHooks = [];
            private Hook<Action<Module>>[] afterHooks = [];

            /// <param name="name">Name of the module's kind.</param>
            protected HookableModule(string name)
                : base(name)
            {
            }

            /// <summary>Adds a hook that runs after forward; what it returns, unless null, becomes the result.</summary>
            /// <param name="hook">The hook.</param>
            /// <returns>An object that removes the hook again.</returns>
            public HookRemover register_forward_hook(TPostHook hook)
            {
                var entry = new Hook<TPostHook>(hook);
                ResultHooks = [.. ResultHooks, entry];
                return new HookRemover(() => ResultHooks = [.. ResultHooks.Where(other => other != entry)]);
            }

            /// <summary>Adds a hook that runs before forward; what it returns, unless null, becomes the inputs.</summary>
            /// <param name="hook">The hook.</param>
            /// <returns>An object that removes the hook again.</returns>
            public HookRemover register_forward_pre_hook(TPreHook hook)
            {
                var entry = new Hook<TPreHook>(hook);
                InputHooks = [.. InputHooks, entry];
                return new HookRemover(() => InputHooks = [.. InputHooks.Where(other => other != entry)]);
            }

            /// <summary>Adds a hook that runs at the end of every call.</summary>
            /// <param name="hook">The hook.</param>
            /// <returns>An object that removes the hook again.</returns>
            public HookRemover register_forward_hook(Action<Module> hook)
            {
                var entry = new Hook<Action<Module>>(hook);
                afterHooks = [.. afterHooks, entry];
                return new HookRemover(() => afterHooks = [.. afterHooks.Where(other => other != entry)]);
            }

            /// <summary>Adds a hook that runs at the start of every call.</summary>
            /// <param name="hook">The hook.</param>
            /// <returns>An object that removes the hook again.</returns>
            public HookRemover register_forward_pre_hook(Action<Module> hook)
            {
                var entry = new Hook<Action<Module>>(hook);
                beforeHooks = [.. beforeHooks, entry];
                return new HookRemover(() => beforeHooks = [.. beforeHooks.Where(other => other != entry)]);
            }

            private protected void BeforeCall()
            {
                foreach (var hook in beforeHooks) hook.Run(this);
            }

            private protected void AfterCall()
            {
                foreach (var hook in afterHooks) hook.Run(this);
            }

            /// <summary>One registration of a hook; compared by reference, for a delegate may be registered twice.</summary>
            private protected sealed class Hook<T>(T run)
            {
                public T Run { get; } = run;
            }

            /// <summary>Removes a hook from the module it was registered with.</summary>
            public class HookRemover
            {
                private readonly Action removal;

                internal HookRemover(Action removal) => this.removal = removal;

                /// <summary>Removes the hook; a second call does nothing.</summary>
                public void remove() => removal();
            }
        }
    }
}
