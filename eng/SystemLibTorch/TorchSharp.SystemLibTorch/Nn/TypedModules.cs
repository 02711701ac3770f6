namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        // Modules by number of inputs. `forward` is what a derived class writes and `call` what its user calls:
        // call = hooks before, forward, hooks after. A hook that returns null leaves inputs or result as they are.

        /// <summary>What can be called with one input.</summary>
        public interface IModule<T, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T input1);
        }

        /// <summary>A module of one input.</summary>
        public abstract class Module<T, TResult> :
            HookableModule<Func<Module<T, TResult>, T, T>, Func<Module<T, TResult>, T, TResult, TResult>>,
            IModule<T, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T input);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T input)
            {
                BeforeCall();
                foreach (var hook in InputHooks) input = hook.Run(this, input) ?? input;
                var result = forward(input);
                foreach (var hook in ResultHooks) result = hook.Run(this, input, result) ?? result;
                AfterCall();
                return result;
            }
        }

        /// <summary>What can be called with two inputs.</summary>
        public interface IModule<T1, T2, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T1 input1, T2 input2);
        }

        /// <summary>A module of two inputs.</summary>
        public abstract class Module<T1, T2, TResult> :
            HookableModule<Func<Module<T1, T2, TResult>, T1, T2, (T1, T2)?>, Func<Module<T1, T2, TResult>, T1, T2, TResult, TResult>>,
            IModule<T1, T2, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T1 input1, T2 input2);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T1 input1, T2 input2)
            {
                BeforeCall();
                foreach (var hook in InputHooks) (input1, input2) = hook.Run(this, input1, input2) ?? (input1, input2);
                var result = forward(input1, input2);
                foreach (var hook in ResultHooks) result = hook.Run(this, input1, input2, result) ?? result;
                AfterCall();
                return result;
            }
        }

        /// <summary>What can be called with three inputs.</summary>
        public interface IModule<T1, T2, T3, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T1 input1, T2 input2, T3 input3);
        }

        /// <summary>A module of three inputs.</summary>
        public abstract class Module<T1, T2, T3, TResult> :
            HookableModule<Func<Module<T1, T2, T3, TResult>, T1, T2, T3, (T1, T2, T3)?>, Func<Module<T1, T2, T3, TResult>, T1, T2, T3, TResult, TResult>>,
            IModule<T1, T2, T3, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T1 input1, T2 input2, T3 input3);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T1 input1, T2 input2, T3 input3)
            {
                BeforeCall();
                foreach (var hook in InputHooks) (input1, input2, input3) = hook.Run(this, input1, input2, input3) ?? (input1, input2, input3);
                var result = forward(input1, input2, input3);
                foreach (var hook in ResultHooks) result = hook.Run(this, input1, input2, input3, result) ?? result;
                AfterCall();
                return result;
            }
        }

        /// <summary>What can be called with four inputs.</summary>
        public interface IModule<T1, T2, T3, T4, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T1 input1, T2 input2, T3 input3, T4 input4);
        }

        /// <summary>A module of four inputs.</summary>
        public abstract class Module<T1, T2, T3, T4, TResult> :
            HookableModule<Func<Module<T1, T2, T3, T4, TResult>, T1, T2, T3, T4, (T1, T2, T3, T4)?>, Func<Module<T1, T2, T3, T4, TResult>, T1, T2, T3, T4, TResult, TResult>>,
            IModule<T1, T2, T3, T4, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T1 input1, T2 input2, T3 input3, T4 input4);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T1 input1, T2 input2, T3 input3, T4 input4)
            {
                BeforeCall();
                foreach (var hook in InputHooks) (input1, input2, input3, input4) = hook.Run(this, input1, input2, input3, input4) ?? (input1, input2, input3, input4);
                var result = forward(input1, input2, input3, input4);
                foreach (var hook in ResultHooks) result = hook.Run(this, input1, input2, input3, input4, result) ?? result;
                AfterCall();
                return result;
            }
        }

        /// <summary>What can be called with five inputs.</summary>
        public interface IModule<T1, T2, T3, T4, T5, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5);
        }

        /// <summary>A module of five inputs.</summary>
        public abstract class Module<T1, T2, T3, T4, T5, TResult> :
            HookableModule<Func<Module<T1, T2, T3, T4, T5, TResult>, T1, T2, T3, T4, T5, (T1, T2, T3, T4, T5)?>, Func<Module<T1, T2, T3, T4, T5, TResult>, T1, T2, T3, T4, T5, TResult, TResult>>,
            IModule<T1, T2, T3, T4, T5, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5)
            {
                BeforeCall();
                foreach (var hook in InputHooks) (input1, input2, input3, input4, input5) = hook.Run(this, input1, input2, input3, input4, input5) ?? (input1, input2, input3, input4, input5);
                var result = forward(input1, input2, input3, input4, input5);
                foreach (var hook in ResultHooks) result = hook.Run(this, input1, input2, input3, input4, input5, result) ?? result;
                AfterCall();
                return result;
            }
        }

        /// <summary>What can be called with six inputs.</summary>
        public interface IModule<T1, T2, T3, T4, T5, T6, TResult>
        {
            /// <summary>Runs the module, hooks included.</summary>
            TResult call(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6);
        }

        /// <summary>A module of six inputs.</summary>
        public abstract class Module<T1, T2, T3, T4, T5, T6, TResult> :
            HookableModule<Func<Module<T1, T2, T3, T4, T5, T6, TResult>, T1, T2, T3, T4, T5, T6, (T1, T2, T3, T4, T5, T6)?>, Func<Module<T1, T2, T3, T4, T5, T6, TResult>, T1, T2, T3, T4, T5, T6, TResult, TResult>>,
            IModule<T1, T2, T3, T4, T5, T6, TResult>
        {
            /// <param name="name">Name of the module's kind.</param>
            protected Module(string name)
                : base(name)
            {
            }

            /// <summary>The module's computation, without hooks.</summary>
            public abstract TResult forward(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6);

            /// <summary>Runs the module: hooks, <see cref="forward"/>, hooks.</summary>
            public TResult call(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6)
            {
                BeforeCall();
                foreach (var hook in InputHooks) (input1, input2, input3, input4, input5, input6) = hook.Run(this, input1, input2, input3, input4, input5, input6) ?? (input1, input2, input3, input4, input5, input6);
                var result = forward(input1, input2, input3, input4, input5, input6);
                foreach (var hook in ResultHooks) result = hook.Run(this, input1, input2, input3, input4, input5, input6, result) ?? result;
                AfterCall();
                return result;
            }
        }
    }
}
