using TorchSharp.Utils;

namespace TorchSharp;

public static partial class torch
{
    public static partial class nn
    {
        // The state dictionary and its binary file format:
        // LEB128 number of entries, then for each the name (length-prefixed UTF-8) and the tensor as TensorExtensionMethods.Save writes it.
        public partial class Module
        {
            /// <summary>All parameters and persistent buffers by path. The tensors are the module's own, not copies.</summary>
            /// <param name="destination">Dictionary to add to; a new one if null. Entries it already has are kept.</param>
            /// <param name="prefix">Path to put before the names.</param>
            public virtual Dictionary<string, Tensor> state_dict(Dictionary<string, Tensor>? destination = null, string? prefix = null)
            {
                destination ??= [];
                foreach (var (path, parameter) in named_parameters()) destination.TryAdd(Join(prefix, path), parameter);
                foreach (var (path, buffer) in named_buffers(include_nonpersistent: false)) destination.TryAdd(Join(prefix, path), buffer);

                // Tensors shared between submodules have been listed once so far; here each of their paths gets its entry.
                foreach (var (childName, child) in named_children()) child.state_dict(destination, Join(prefix, childName));
                return destination;
            }

            /// <summary>Copies values into the parameters and buffers.</summary>
            /// <param name="source">Values by path.</param>
            /// <param name="strict">Whether the paths must be exactly those of this module's state dictionary.</param>
            /// <param name="skip">Paths to leave alone.</param>
            /// <returns>The paths that the source lacks, and those that this module lacks.</returns>
            /// <exception cref="InvalidOperationException">The paths differ and <paramref name="strict"/> is set; nothing has been copied.</exception>
            public virtual (IList<string> missing_keys, IList<string> unexpected_keyes) load_state_dict(
                Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null)
            {
                ArgumentNullException.ThrowIfNull(source);
                skip ??= [];
                var target = state_dict();
                List<string> unexpected = [.. source.Keys.Where(key => !skip.Contains(key) && !target.ContainsKey(key))];
                List<string> missing = [.. target.Keys.Where(key => !skip.Contains(key) && !source.ContainsKey(key))];
                if (strict && missing.Count + unexpected.Count > 0)
                {
                    throw new InvalidOperationException(
                        $"The state dictionary does not match the module: missing [{string.Join(", ", missing)}], unexpected [{string.Join(", ", unexpected)}].");
                }

                using var inference = no_grad();
                foreach (var (key, value) in source)
                {
                    if (!skip.Contains(key) && target.TryGetValue(key, out var tensor)) tensor.copy_(value);
                }

                return (missing, unexpected);
            }

            /// <summary>Writes the state dictionary to a file.</summary>
            /// <param name="location">Path of the file.</param>
            /// <param name="skip">Paths to leave out.</param>
            /// <returns>This module.</returns>
            public Module save(string location, IList<string>? skip = null)
            {
                using var stream = File.Create(location);
                return save(stream, skip);
            }

            /// <summary>Writes the state dictionary to a stream, and closes it.</summary>
            /// <param name="stream">A writable stream.</param>
            /// <param name="skip">Paths to leave out.</param>
            /// <returns>This module.</returns>
            public Module save(Stream stream, IList<string>? skip = null)
            {
                using var writer = new BinaryWriter(stream);
                return save(writer, skip);
            }

            /// <summary>Writes the state dictionary.</summary>
            /// <param name="writer">Where to.</param>
            /// <param name="skip">Paths to leave out.</param>
            /// <returns>This module.</returns>
            public Module save(BinaryWriter writer, IList<string>? skip = null)
            {
                save_state_dict(writer, state_dict(), skip);
                return this;
            }

            /// <summary>Writes a state dictionary.</summary>
            /// <param name="writer">Where to.</param>
            /// <param name="sd">Tensors by path.</param>
            /// <param name="skip">Paths to leave out.</param>
            public static void save_state_dict(BinaryWriter writer, Dictionary<string, Tensor> sd, IList<string>? skip = null)
            {
                ArgumentNullException.ThrowIfNull(writer);
                ArgumentNullException.ThrowIfNull(sd);
                var entries = sd.Where(entry => skip is null || !skip.Contains(entry.Key)).ToList();
                writer.Encode(entries.Count);
                foreach (var (key, tensor) in entries)
                {
                    writer.Write(key);
                    tensor.Save(writer);
                }
            }

            /// <summary>Reads a file that <see cref="save(string, IList{string})"/> wrote into the parameters and buffers.</summary>
            /// <param name="location">Path of the file.</param>
            /// <param name="strict">Whether the entries must be exactly those of this module.</param>
            /// <param name="skip">Paths to leave alone.</param>
            /// <param name="loadedParameters">Receives, for each entry of the file, whether this module has it.</param>
            /// <returns>This module.</returns>
            /// <exception cref="FileNotFoundException">There is no such file.</exception>
            /// <exception cref="ArgumentException">The entries do not match the module.</exception>
            public virtual Module load(string location, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
            {
                using var stream = File.OpenRead(location);
                return load(stream, strict, skip, loadedParameters);
            }

            /// <summary>Reads a state dictionary from a stream into the parameters and buffers, and closes the stream.</summary>
            /// <param name="stream">A readable stream; a seekable one if entries are to be passed over.</param>
            /// <param name="strict">Whether the entries must be exactly those of this module.</param>
            /// <param name="skip">Paths to leave alone.</param>
            /// <param name="loadedParameters">Receives, for each entry of the stream, whether this module has it.</param>
            /// <returns>This module.</returns>
            /// <exception cref="ArgumentException">The entries do not match the module.</exception>
            public Module load(Stream stream, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
            {
                using var reader = new BinaryReader(stream);
                return load(reader, strict, skip, loadedParameters);
            }

            /// <summary>Reads a state dictionary into the parameters and buffers.</summary>
            /// <param name="reader">Where from.</param>
            /// <param name="strict">Whether the entries must be exactly those of this module.</param>
            /// <param name="skip">Paths to leave alone.</param>
            /// <param name="loadedParameters">Receives, for each entry read, whether this module has it.</param>
            /// <returns>This module.</returns>
            /// <exception cref="ArgumentException">The entries do not match the module.</exception>
            public virtual Module load(BinaryReader reader, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
            {
                ArgumentNullException.ThrowIfNull(reader);
                var target = state_dict();
                var entries = reader.Decode();
                if (strict && entries != target.Count)
                {
                    throw new ArgumentException($"Mismatched state dictionary sizes: the module has {target.Count} entries, the stream {entries}.");
                }

                for (var i = 0L; i < entries; i++)
                {
                    var key = reader.ReadString();
                    var found = target.TryGetValue(key, out var tensor);
                    if (strict && !found) throw new ArgumentException($"Mismatched state dictionary names: the module has no parameter or buffer '{key}'.");
                    if (found && skip?.Contains(key) != true) tensor!.Load(reader);
                    else TensorExtensionMethods.Load(reader, skip: true).Dispose();
                    loadedParameters?.Add(key, found);
                }

                return this;
            }

            /// <summary>Creates a module and loads its parameters and buffers from a file.</summary>
            /// <typeparam name="T">The module's class.</typeparam>
            /// <param name="path">Path of the file.</param>
            public static Module Create<T>(string path)
                where T : Module, new() => new T().load(path);

            private static string Join(string? prefix, string name) => string.IsNullOrEmpty(prefix) ? name : $"{prefix}.{name}";
        }
    }
}
