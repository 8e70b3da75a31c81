// The two BLAS functions that the interpreter calls. Declared here, since distributions place cblas.h differently.
#pragma once
enum { COpenBLASRowMajor = 101, COpenBLASNoTrans = 111, COpenBLASTrans = 112 };
void cblas_sgemm(int order, int transA, int transB, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc);
void openblas_set_num_threads(int threads);
