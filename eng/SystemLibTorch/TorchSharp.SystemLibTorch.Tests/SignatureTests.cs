using System.Reflection;
using TorchSharp;

namespace TorchSharpTests;

public class SignatureTests
{
    /// <summary>
    /// Code compiled against this provider must compile against TorchSharp: every public member is one of TorchSharp's.
    /// The list holds the provider's members as <see cref="Signatures"/> printed them from TorchSharp 0.105.1 and from its
    /// main branch (0.107), built from source; a line is there only if both have it.
    /// </summary>
    [Fact]
    public void EveryPublicMemberIsOneOfTorchSharps()
    {
        using var stream = typeof(SignatureTests).Assembly.GetManifestResourceStream("TorchSharp.signatures.txt")!;
        using var reader = new StreamReader(stream);
        HashSet<string> known = [.. reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)];
        string[] members = Signatures.Of(typeof(torch).Assembly).ToArray();
        string[] unknown = members.Where(member => !known.Contains(member)).ToArray();
        Assert.True(
            unknown.Length == 0,
            "Not in the list of TorchSharp's members (compare with TorchSharp's source, correct, or add to TorchSharp.signatures.txt):\n"
            + string.Join('\n', unknown));
        Assert.True(members.Length > 900, "the comparison saw too few members to mean anything");
    }
}

/// <summary>The public members of an assembly as text, one line each: types, names, parameter names, defaults and tuple names.</summary>
internal static class Signatures
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    internal static IEnumerable<string> Of(Assembly assembly) => assembly.GetTypes().Where(IsVisible).SelectMany(Of);

    private static IEnumerable<string> Of(Type type)
    {
        string name = Name(type);
        string modifiers = (type.IsAbstract ? "abstract " : "") + (type.IsSealed ? "sealed " : "");
        yield return $"{modifiers}type {name} : {(type.BaseType is null ? "" : Name(type.BaseType))}";
        foreach (ConstructorInfo constructor in type.GetConstructors(Declared).Where(IsVisible))
        {
            yield return $"{name}{Parameters(constructor)}";
        }
        foreach (MethodInfo method in type.GetMethods(Declared).Where(IsVisible).Where(method => !IsOverride(method)))
        {
            string kind = method.IsStatic ? "static " : method.IsAbstract ? "abstract " : method.IsVirtual && !method.IsFinal ? "virtual " : "";
            string generic = string.Join(", ", method.IsGenericMethodDefinition ? method.GetGenericArguments().Select(Constraints) : []);
            yield return $"{(method.IsPublic ? "" : "protected ")}{kind}{Tuple(method.ReturnParameter)}{Name(method.ReturnType)} "
                + $"{name}.{method.Name}<{generic}>{Parameters(method)}";
        }
        foreach (FieldInfo field in type.GetFields(Declared).Where(field => (field.IsPublic || field.IsFamily) && !field.IsSpecialName))
        {
            string kind = (field.IsStatic ? "static " : "") + (field.IsInitOnly ? "readonly " : "");
            yield return $"{kind}{Name(field.FieldType)} {name}.{field.Name}{(field.IsLiteral ? $" = {field.GetRawConstantValue()}" : "")}";
        }
    }

    private static bool IsVisible(Type type) =>
        type.IsPublic || ((type.IsNestedPublic || type.IsNestedFamily) && IsVisible(type.DeclaringType!));

    private static bool IsVisible(MethodBase method) => method.IsPublic || method.IsFamily || method.IsFamilyOrAssembly;

    // An override adds nothing to what callers can compile against.
    private static bool IsOverride(MethodInfo method) => method.IsVirtual && (method.Attributes & MethodAttributes.NewSlot) == 0;

    private static string Constraints(Type parameter) =>
        $"{parameter.Name}: {parameter.GenericParameterAttributes} {string.Join(" & ", parameter.GetGenericParameterConstraints().Select(Name))}".Trim();

    private static string Parameters(MethodBase method) => $"({string.Join(", ", method.GetParameters().Select(Parameter))})";

    private static string Parameter(ParameterInfo parameter)
    {
        string modifier = parameter.IsOut ? "out " : Has(parameter, "ParamArrayAttribute") ? "params " : "";
        string value = parameter.HasDefaultValue ? $" = {parameter.RawDefaultValue ?? "null"}" : "";
        return $"{modifier}{Tuple(parameter)}{Name(parameter.ParameterType)} {parameter.Name}{value}";
    }

    private static bool Has(ParameterInfo parameter, string attribute) =>
        parameter.GetCustomAttributesData().Any(data => data.AttributeType.Name == attribute);

    private static string Tuple(ParameterInfo parameter)
    {
        CustomAttributeData? names = parameter.GetCustomAttributesData()
            .FirstOrDefault(data => data.AttributeType.Name == "TupleElementNamesAttribute");
        return names?.ConstructorArguments[0].Value is IEnumerable<CustomAttributeTypedArgument> elements
            ? $"[{string.Join(", ", elements.Select(element => element.Value))}] "
            : "";
    }

    private static string Name(Type type)
    {
        if (type.HasElementType)
        {
            string suffix = type.IsByRef ? "&" : type.IsPointer ? "*" : $"[{new string(',', type.GetArrayRank() - 1)}]";
            return Name(type.GetElementType()!) + suffix;
        }
        if (type.IsGenericParameter)
        {
            return type.Name;
        }
        string name = type.IsGenericType ? type.GetGenericTypeDefinition().FullName! : type.FullName!;
        string arguments = type.IsGenericType ? $"<{string.Join(", ", type.GetGenericArguments().Select(Name))}>" : "";
        return name.Replace('+', '.') + arguments;
    }
}
